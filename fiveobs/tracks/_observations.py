"""The figures of the moment that go out with the metrics.

Names follow the OpenTelemetry semantic conventions for process, system and hardware metrics where
they have one. GPU figures need the ``gpu`` extra and a driver; without them they are left out.
"""

from __future__ import annotations

import functools
from collections import Counter
from typing import TYPE_CHECKING

import psutil

from fiveobs import _figures
from fiveobs._loading import loading
from fiveobs._queues import queue_sizes
from fiveobs._report import report
from fiveobs.tracks._sums import Instrument, Labels
from fiveobs.tracks.metrics import JOBS_ACTIVE, QUEUE_SIZE, Observation

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from typing import Any

    from fiveobs.types import Accounting

_RECORDS = "{record}"
ACCEPTED = Instrument("fiveobs.records.accepted", "counter", _RECORDS, "Records given to a track")
DELIVERED = Instrument("fiveobs.records.delivered", "counter", _RECORDS, "Records taken")
DROPPED = Instrument("fiveobs.records.dropped", "counter", _RECORDS, "Records given up")
PENDING = Instrument("fiveobs.records.pending", "gauge", _RECORDS, "Records waiting to be taken")
OVERHEAD = Instrument("fiveobs.overhead", "counter", "s", "Time that jobs have spent in fiveobs")
TRACK_FAILURES = Instrument("fiveobs.track.failures", "counter", "{error}", "Raised by a track")

PROCESS_CPU = Instrument("process.cpu.time", "counter", "s", "CPU time of the process")
PROCESS_MEMORY = Instrument("process.memory.usage", "gauge", "By", "Resident memory")
PROCESS_LIMIT = Instrument(
    "process.memory.limit", "gauge", "By", "Memory limit of the container or the machine"
)
CONTAINER_MEMORY = Instrument(
    "container.memory.usage", "gauge", "By", "Memory that counts against the limit"
)
PROCESS_DISK = Instrument("process.disk.io", "counter", "By", "Bytes read and written on disk")
PROCESS_THREADS = Instrument("process.thread.count", "gauge", "{thread}", "Threads")
PROCESS_FILES = Instrument("process.open_file_descriptor.count", "gauge", "{count}", "Open files")
SYSTEM_CPU = Instrument("system.cpu.utilization", "gauge", "1", "CPU use of the machine, 0 to 1")
SYSTEM_MEMORY = Instrument("system.memory.utilization", "gauge", "1", "Memory use, 0 to 1")
SYSTEM_NETWORK = Instrument("system.network.io", "counter", "By", "Bytes on the network")

GPU_UTILIZATION = Instrument("hw.gpu.utilization", "gauge", "1", "GPU use, 0 to 1")
GPU_MEMORY = Instrument("hw.gpu.memory.usage", "gauge", "By", "GPU memory in use")
GPU_MEMORY_LIMIT = Instrument("hw.gpu.memory.limit", "gauge", "By", "GPU memory in all")
GPU_TEMPERATURE = Instrument("hw.temperature", "gauge", "Cel", "GPU temperature")
GPU_POWER = Instrument("hw.power", "gauge", "W", "GPU power draw")

#: Every instrument of which `observations` may have a figure.
OBSERVED = (
    *(JOBS_ACTIVE, QUEUE_SIZE, ACCEPTED, DELIVERED, DROPPED, PENDING, OVERHEAD, TRACK_FAILURES),
    *(PROCESS_CPU, PROCESS_MEMORY, PROCESS_LIMIT, CONTAINER_MEMORY, PROCESS_DISK),
    *(PROCESS_THREADS, PROCESS_FILES, SYSTEM_CPU, SYSTEM_MEMORY, SYSTEM_NETWORK),
    *(GPU_UTILIZATION, GPU_MEMORY, GPU_MEMORY_LIMIT, GPU_TEMPERATURE, GPU_POWER),
)
#: What the system or a driver may refuse: that figure is left out.
_REFUSALS = (psutil.Error, OSError, AttributeError, NotImplementedError)


def observations(
    services: Iterable[str],
    met: Collection[str],
    accounting: Mapping[str, Accounting],
    overhead_s: float,
    failures: Mapping[str, int],
) -> Iterator[Observation]:
    """Every figure of the moment.

    Args:
        services: The service of each running job.
        met: Services that have had a job, which are reported as 0 when none of theirs runs.
        accounting: Sums by track.
        overhead_s: Time that jobs have spent in us.
        failures: Exceptions by track.
    """
    running = Counter(services)
    known = sorted({*list(met), *running})  # a copy: jobs begin meanwhile
    yield from ((JOBS_ACTIVE, (("service", each),), running[each]) for each in known)
    yield from ((QUEUE_SIZE, (("queue", q),), size) for q, size in queue_sizes().items())
    yield OVERHEAD, (), overhead_s
    for track, sums in accounting.items():
        labels = (("track", track),)
        yield ACCEPTED, labels, sums.accepted
        yield DELIVERED, labels, sums.delivered
        yield DROPPED, labels, sums.dropped
        yield PENDING, labels, sums.pending
    yield from ((TRACK_FAILURES, (("track", t),), count) for t, count in failures.items())
    for read in (_process, _container, _system, _gpus):
        yield from _guarded(read)


def _guarded(read: Callable[[], Iterable[Observation]]) -> list[Observation]:
    """What could be read; a figure that cannot be must not cost the others."""
    found: list[Observation] = []
    try:
        found.extend(read())
    except _REFUSALS:
        pass
    except Exception as exc:  # a driver's library raises what it likes
        report("metrics", f"some figures cannot be read: {type(exc).__name__}: {exc}")
    return found


def _process() -> Iterator[Observation]:
    me = _figures.process()
    used = _figures.usage()
    yield PROCESS_CPU, (), used.cpu_s
    yield PROCESS_MEMORY, (), used.rss_bytes
    if used.io_read_bytes is not None and used.io_write_bytes is not None:
        yield PROCESS_DISK, (("disk.io.direction", "read"),), used.io_read_bytes
        yield PROCESS_DISK, (("disk.io.direction", "write"),), used.io_write_bytes
    yield PROCESS_THREADS, (), me.num_threads()
    if hasattr(me, "num_fds"):
        yield PROCESS_FILES, (), me.num_fds()


def _container() -> Iterator[Observation]:
    memory = _figures.memory_limit()
    yield PROCESS_LIMIT, (), memory.limit_bytes
    yield CONTAINER_MEMORY, (), memory.used_bytes


def _system() -> Iterator[Observation]:
    yield SYSTEM_CPU, (), psutil.cpu_percent(interval=None) / 100
    yield SYSTEM_MEMORY, (), psutil.virtual_memory().percent / 100
    network = psutil.net_io_counters()
    if network is not None:
        yield SYSTEM_NETWORK, (("network.io.direction", "transmit"),), network.bytes_sent
        yield SYSTEM_NETWORK, (("network.io.direction", "receive"),), network.bytes_recv


@functools.cache
def _nvml() -> Any | None:
    """NVIDIA's library, if the extra is installed and a driver answers."""
    try:
        with loading:
            import pynvml

        pynvml.nvmlInit()
    except Exception:
        return None
    return pynvml


def _gpus() -> Iterator[Observation]:
    nvml = _nvml()
    if nvml is None:
        return
    for index in range(nvml.nvmlDeviceGetCount()):
        yield from _guarded(functools.partial(_gpu, nvml, index))


def _gpu(nvml: Any, index: int) -> Iterator[Observation]:
    """One GPU; what a model does not report is left out."""
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    labels: Labels = (("hw.id", str(index)), ("hw.name", _text(nvml.nvmlDeviceGetName(handle))))
    for read in (_gpu_use, _gpu_memory, _gpu_temperature, _gpu_power):
        try:
            yield from [(each, labels, value) for each, value in read(nvml, handle)]
        except (nvml.NVMLError, *_REFUSALS):
            continue


def _gpu_use(nvml: Any, handle: Any) -> Iterator[tuple[Instrument, float]]:
    yield GPU_UTILIZATION, nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100


def _gpu_memory(nvml: Any, handle: Any) -> Iterator[tuple[Instrument, float]]:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    yield GPU_MEMORY, memory.used
    yield GPU_MEMORY_LIMIT, memory.total


def _gpu_temperature(nvml: Any, handle: Any) -> Iterator[tuple[Instrument, float]]:
    yield GPU_TEMPERATURE, nvml.nvmlDeviceGetTemperature(handle, 0)


def _gpu_power(nvml: Any, handle: Any) -> Iterator[tuple[Instrument, float]]:
    yield GPU_POWER, nvml.nvmlDeviceGetPowerUsage(handle) / 1000


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
