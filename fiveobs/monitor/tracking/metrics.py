"""A job's figures, their history, and how they compare."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import fmean

from fiveobs.monitor.store.rows import EventRow, IntervalRow, SampleRow, SpanRow, StageRow
from fiveobs.monitor.tracking.benchmarks import benchmarks
from fiveobs.monitor.tracking.estimates import prediction_accuracy
from fiveobs.monitor.tracking.human import US, Number, as_time, number, rounded_duration, size
from fiveobs.monitor.tracking.models.metrics import (
    CpuFigures,
    CurrentMetrics,
    DiskFigures,
    HistoricalMetric,
    MemoryFigures,
    MetricsAnswer,
    NetworkFigures,
    PerformanceTrends,
    ProcessingFigures,
    ResourceUtilization,
    StageFigures,
)
from fiveobs.monitor.tracking.progress import added, network_moved
from fiveobs.monitor.tracking.throughput import rate_by_interval, rates, steps
from fiveobs.monitor.tracking.tracked import Tracked
from fiveobs.monitor.tracking.trends import direction

__all__ = ["METRICS", "MOST_INTERVALS", "historical", "metrics_answer"]

#: What can be asked for.
METRICS = ("cpu", "memory", "disk", "network", "throughput")
#: Of a longer history, the last intervals.
MOST_INTERVALS = 1_000
#: Efficiency in percent from which on it is Excellent, Good and Fair.
_EXCELLENT, _GOOD, _FAIR = 100, 80, 50
_WORDS = {1: "Rising", 0: "Stable", -1: "Declining", None: None}
_THROUGHPUT_WORDS = {**_WORDS, 1: "Improving"}


def metrics_answer(
    tracked: Tracked,
    *,
    wanted: Collection[str],
    span: SpanRow | None,
    samples: Sequence[SampleRow],
    progress: Sequence[EventRow],
    history: list[HistoricalMetric],
) -> MetricsAnswer:
    """A job's performance.

    Args:
        tracked: The job.
        wanted: Which of `METRICS`.
        span: What its worker's heartbeats say of the time in which it ran.
        samples: Its worker's last heartbeats while it ran, the oldest first.
        progress: Its last events that count, the oldest first.
        history: Figures by interval, if they were asked for.
    """
    processing = _processing(tracked)
    stages = _stages(tracked)
    return MetricsAnswer(
        job_id=tracked.job.job_id,
        metrics_collection_time=as_time(tracked.now_us) or "",
        current_metrics=CurrentMetrics(
            resource_utilization=_resources(tracked, wanted, span, samples),
            processing=processing if "throughput" in wanted else None,
            stages=stages,
        ),
        historical_metrics=history,
        performance_trends=_trends(tracked, samples, progress, processing, stages),
        benchmarks=benchmarks(tracked),
    )


# --- as it stands ------------------------------------------------------------------------------


def _resources(
    tracked: Tracked,
    wanted: Collection[str],
    span: SpanRow | None,
    samples: Sequence[SampleRow],
) -> ResourceUtilization:
    return ResourceUtilization(
        cpu=_cpu(tracked) if "cpu" in wanted else None,
        memory=_memory(tracked, span and span.peak_memory_bytes) if "memory" in wanted else None,
        disk=_disk(tracked, samples) if "disk" in wanted else None,
        network=_network(tracked, span) if "network" in wanted else None,
    )


def _cpu(tracked: Tracked) -> CpuFigures:
    cores = tracked.worker.cpu_count if tracked.worker is not None else None
    used = [(row.cpu_s, row.duration_s) for row in tracked.stages if row.ended_at_us]
    known = [(cpu_s, took_s) for cpu_s, took_s in used if cpu_s is not None and took_s]
    cpu_s, took_s = sum(cpu for cpu, _ in known), sum(took for _, took in known)
    return CpuFigures(
        usage=number(tracked.cpu_usage, 1),
        cores=number(cores),
        efficiency=number(100 * cpu_s / (took_s * cores), 1) if cores and took_s else None,
    )


def _memory(tracked: Tracked, peak_bytes: int | None) -> MemoryFigures:
    used = tracked.memory_bytes
    limit = tracked.worker.memory_limit_bytes if tracked.worker is not None else None
    known = [each for each in (peak_bytes, used) if each is not None]
    known += [row.memory_rss_bytes for row in tracked.stages if row.memory_rss_bytes is not None]
    peak = max(known, default=None)
    return MemoryFigures(
        used=size(used),
        used_bytes=used,
        allocated=size(limit),
        allocated_bytes=limit,
        peak=size(peak),
        peak_bytes=peak,
        efficiency=number(100 * peak / limit, 1) if peak is not None and limit else None,
    )


def _disk(tracked: Tracked, samples: Sequence[SampleRow]) -> DiskFigures:
    reads = added([row.io_read_bytes for row in tracked.stages])
    writes = added([row.io_write_bytes for row in tracked.stages])
    return DiskFigures(
        reads=size(reads),
        reads_bytes=reads,
        writes=size(writes),
        writes_bytes=writes,
        iops=number(_operations_per_s(samples), 1),
        latency=None,
    )


def _operations_per_s(samples: Sequence[SampleRow]) -> float | None:
    """How many reads and writes a second there were between its worker's last two heartbeats."""
    known = [(row.at_us, row.io_operations) for row in samples if row.io_operations is not None]
    if len(known) < 2:
        return None
    (before_us, before), (at_us, now) = known[-2:]
    return (now - before) * US / (at_us - before_us)


def _network(tracked: Tracked, span: SpanRow | None) -> NetworkFigures:
    received, sent = network_moved(tracked, span)
    return NetworkFigures(
        bytes_in=size(received),
        bytes_in_bytes=received,
        bytes_out=size(sent),
        bytes_out_bytes=sent,
        connections=None,
    )


def _processing(tracked: Tracked) -> ProcessingFigures:
    counted = tracked.counted
    work, now, usual = tracked.work, None, None
    if counted is not None:
        now = counted.rate_per_s
        usual = tracked.history.stage_rate_per_s(counted.stage, tracked.unit)
    attempt = tracked.job.attempt
    return ProcessingFigures(
        records_per_second=number(tracked.rate_per_s),
        records_processed=number(tracked.done),
        total_records=number(tracked.total),
        processing_efficiency=number(100 * now / usual, 1) if now is not None and usual else None,
        error_rate=number(tracked.errors / work[0], 6) if work is not None else None,
        retry_rate=number((attempt - 1) / attempt, 4),
    )


def _stages(tracked: Tracked) -> StageFigures:
    statuses = [stage.status for stage in tracked.all_stages]
    took = [row for row in tracked.stages if row.status == "completed" and row.duration_s]
    average_s = fmean(row.duration_s or 0.0 for row in took) if took else None
    usual = [(tracked.history.stage_median_s(row.stage), row.duration_s or 0.0) for row in took]
    known = [(expected, actual) for expected, actual in usual if expected is not None]
    expected_s, actual_s = sum(each for each, _ in known), sum(each for _, each in known)
    return StageFigures(
        completed=statuses.count("Completed"),
        running=statuses.count("Running"),
        pending=statuses.count("Pending"),
        average_stage_time=rounded_duration(average_s),
        average_stage_time_seconds=number(average_s, 3),
        stage_efficiency=number(100 * expected_s / actual_s, 1) if actual_s else None,
    )


# --- over time ---------------------------------------------------------------------------------


def historical(
    tracked: Tracked,
    intervals: Iterable[IntervalRow],
    progress: Iterable[EventRow],
    *,
    wanted: Collection[str],
    interval_us: int,
    from_us: int,
) -> list[HistoricalMetric]:
    """The figures of each interval in which there were any.

    Args:
        tracked: The job.
        intervals: Its worker's means.
        progress: Its events that count, in order.
        wanted: Which of `METRICS`.
        interval_us: How long an interval is, in microseconds.
        from_us: When the history begins.
    """
    workers = {row.number: row for row in intervals}
    found = steps(progress, tracked.unit) if "throughput" in wanted else ()
    throughput = rate_by_interval(found, interval_us, from_us)
    numbers = sorted(workers.keys() | throughput.keys())
    return [_interval(tracked, each, workers, throughput, wanted, interval_us) for each in numbers]


def _interval(
    tracked: Tracked,
    place: int,
    workers: Mapping[int, IntervalRow],
    throughput: Mapping[int, float],
    wanted: Collection[str],
    interval_us: int,
) -> HistoricalMetric:
    row = workers.get(place)
    memory = row.memory_rss_bytes if row is not None and "memory" in wanted else None
    cores = (tracked.worker.cpu_count if tracked.worker is not None else None) or 1.0
    cpu = row.cpu_percent if row is not None and "cpu" in wanted else None
    started_us = tracked.job.started_at_us or tracked.job.created_at_us
    start_us = max(place * interval_us, started_us)
    stage = _main_stage(tracked, start_us, (place + 1) * interval_us)
    return HistoricalMetric(
        timestamp=as_time(start_us) or "",
        cpu=number(cpu / cores, 1) if cpu is not None else None,
        memory=number(memory / 1024**3) if memory is not None else None,
        memory_bytes=number(memory, 0),
        records_per_second=number(throughput.get(place)),
        stage=stage.stage if stage is not None else None,
    )


def _main_stage(tracked: Tracked, from_us: int, to_us: int) -> StageRow | None:
    """The stage that ran longest within an interval."""
    longest, found = 0, None
    for row in tracked.stages:
        if row.started_at_us is None:
            continue
        ended_us = row.ended_at_us or tracked.until_us
        shared = min(ended_us, to_us) - max(row.started_at_us, from_us)
        if shared > longest:
            longest, found = shared, row
    return found


def _trends(
    tracked: Tracked,
    samples: Sequence[SampleRow],
    progress: Sequence[EventRow],
    processing: ProcessingFigures,
    stages: StageFigures,
) -> PerformanceTrends:
    cpu = [row.cpu_percent for row in samples if row.cpu_percent is not None]
    memory = [float(row.memory_rss_bytes) for row in samples if row.memory_rss_bytes is not None]
    counted = tracked.counted
    throughput = rates(
        steps(progress, tracked.unit), counted.stage if counted is not None else None
    )
    efficiency = processing.processing_efficiency
    if efficiency is None:
        efficiency = stages.stage_efficiency
    return PerformanceTrends(
        cpu_trend=_WORDS[direction(cpu)],
        memory_trend=_WORDS[direction(memory)],
        throughput_trend=_THROUGHPUT_WORDS[direction(throughput)],
        overall_efficiency=_efficiency_word(efficiency),
        prediction_accuracy=number(prediction_accuracy(tracked.history), 1),
        samples=len(samples),
    )


def _efficiency_word(percent: Number | None) -> str | None:
    if percent is None:
        return None
    if percent >= _EXCELLENT:
        return "Excellent"
    if percent >= _GOOD:
        return "Good"
    return "Fair" if percent >= _FAIR else "Poor"
