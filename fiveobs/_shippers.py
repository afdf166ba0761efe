"""Makes the shippers of the tracks that have a destination."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from fiveobs._report import report
from fiveobs.journal.shipper import Destination, Shipper, SumShipper

if TYPE_CHECKING:
    from fiveobs._pipeline import Pipeline

#: What each track's thread will need: loaded where the pipeline is made, so that the first job pays
#: for it and no fork meets a thread that is half way through an import.
_MODULES = {
    "logs": ("fiveobs.tracks._forward", "fiveobs.tracks._fluent_http"),
    "traces": (
        "fiveobs.tracks._otlp_settings",
        "opentelemetry.proto.collector.trace.v1.trace_service_pb2",
        "certifi",
    ),
    "metrics": (
        "fiveobs.tracks._otlp_settings",
        "fiveobs.tracks._observations",
        "opentelemetry.proto.collector.metrics.v1.metrics_service_pb2",
        "certifi",
    ),
    "errors": ("fiveobs.tracks._envelope",),
}
#: Longest single delivery of a track that has no setting for it, in seconds.
_TIMEOUT_S = 10.0


def make_shippers(pipeline: Pipeline) -> dict[str, Shipper]:
    """A shipper for each shipping track of the pipeline's journal, by name."""
    tracks = [track for track in _MODULES if track in pipeline.journal.tracks]
    for track in tracks:
        for module in _MODULES[track]:
            importlib.import_module(module)
    protocols = {
        "traces": pipeline.config.traces_protocol,
        "metrics": pipeline.config.metrics_protocol,
    }
    if "grpc" in {protocols.get(track) for track in tracks}:
        importlib.import_module("fiveobs.tracks._otlp_grpc")
    shippers = {}
    for track in tracks:
        try:
            make = _metrics if track == "metrics" else _shipper
            shippers[track] = make(pipeline, track)
        except Exception as exc:  # one track that cannot be sent is no reason to send none
            report(track, f"cannot be sent: {type(exc).__name__}: {exc}; it stays in the journal")
    return shippers


def _shipper(pipeline: Pipeline, track: str) -> Shipper:
    config, journal = pipeline.config, pipeline.journal
    return Shipper(
        track,
        _destination(pipeline, track),
        journal.reader(track),
        journal.end,
        interval_s=config.flush_interval_s,
        timeout_s=config.traces_timeout_s if track == "traces" else _TIMEOUT_S,
        report=report,
    )


def _destination(pipeline: Pipeline, track: str) -> Destination:
    config = pipeline.config
    if track == "logs":
        from fiveobs.tracks.logs import LogsDestination

        return LogsDestination(config)
    if track == "traces":
        from fiveobs.tracks.traces import TracesDestination

        return TracesDestination(config, pipeline.journal.resource)
    from fiveobs.tracks.errors import ErrorsDestination

    return ErrorsDestination(config)


def _metrics(pipeline: Pipeline, track: str) -> Shipper:
    from fiveobs.tracks.metrics import MetricsDestination

    config, journal = pipeline.config, pipeline.journal
    return SumShipper(
        track,
        MetricsDestination(config, journal.resource, pipeline.observe),
        journal.reader(track),
        journal.end,
        export_interval_s=config.metrics_interval_s,
        interval_s=config.flush_interval_s,
        timeout_s=config.metrics_timeout_s,
        report=report,
    )
