"""Does what each line on its standard input says (a JSON list: a command and its arguments).

Prints one line for each job, as ``tests.faults.conservation`` reads them, and one when a command is
done. A track of our own counts what each track is given: a witness that does not know the journal.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiveobs
from fiveobs import JobEvent, _runtime, observe_job

#: Of this process, so that no other has the same jobs.
PREFIX = os.urandom(4).hex()
#: What is taken away from the process, by name, to be given back.
hoard: dict[str, Any] = {}
numbers = iter(range(1, 1_000_000))


def say(**what: Any) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def told() -> Iterator[bytes]:
    """The lines of standard input.

    A signal that comes just before a read begins does not end that read: the interpreter runs its
    handler after the next line only. So nothing is read before there is something, and a look for
    that takes a moment at most.
    """
    rest = b""
    while True:
        if not select.select([0], [], [], 0.1)[0]:
            continue
        chunk = os.read(0, 65_536)
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines


class Witness:
    """Counts by track, from the events alone."""

    name = "witness"

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()

    def on_event(self, event: JobEvent) -> None:
        record = event.record
        kind = event.event_type
        self.made["events"] += 1
        self.made["beats"] += kind == "worker.heartbeat"
        self.made["logs"] += kind not in ("metric", "span", "envelope")
        self.made["traces"] += "sampled" in record
        self.made["errors"] += kind == "envelope"
        self.made["metrics"] += kind in ("metric", "job.completed", "job.failed")

    def close(self, timeout_s: float) -> None:
        """Nothing to give up."""


witness = Witness()


def job(size_bytes: int = 0, *, fails: bool | None = None) -> None:
    """One job: two lines, one measurement; every fifth fails, unless it is told whether."""
    number = next(numbers)
    fails = number % 5 == 0 if fails is None else fails
    job_id = f"{PREFIX}-{number}"
    with (
        contextlib.suppress(ValueError),
        observe_job("work", service="faults", job_id=job_id) as running,
    ):
        running.log.info("first", filler="x" * size_bytes)
        running.log.warning("second")
        running.count("records", 3)
        if fails:
            raise ValueError("it fails")
    say(job=job_id, status="failed" if fails else "completed", lines=2, counted=3)


# --- commands ------------------------------------------------------------------------------------


def jobs(count: int, size_bytes: int = 0) -> None:
    for _ in range(count):
        job(size_bytes)


def forever() -> None:
    """Jobs until something ends the process."""
    while True:
        job()
        time.sleep(0.001)  # the pace of a worker, not a wait


def waits(where: str) -> None:
    """A job that waits for a signal; ``own`` handles it, and the job completes."""
    told = threading.Event()
    if where == "own":
        signal.signal(signal.SIGTERM, lambda *_: told.set())
    with observe_job("waits", service="faults", job_id=f"{PREFIX}-waits"):
        say(waiting=True)
        while not told.wait(0.02):
            pass
    say(job=f"{PREFIX}-waits", status="completed")


def flush(timeout_s: float) -> dict[str, Any]:
    return {"flushed": fiveobs.flush(timeout_s)}


def sums() -> dict[str, Any]:
    """What became of everything, and what the witness saw."""
    pipeline = _runtime.get()
    assert pipeline is not None
    found = pipeline.accounting()
    return {
        "made": dict(witness.made),
        "sums": {
            track: {
                "accepted": each.accepted,
                "delivered": each.delivered,
                "pending": each.pending,
                "dropped": each.dropped,
            }
            for track, each in found.items()
        },
    }


def shutdown() -> dict[str, Any]:
    return {"down": fiveobs.shutdown()}


def adopt(*stems: str) -> None:
    """Wait until none of these stems is left for anybody, or none but our own."""
    own = stem()["stem"]

    def is_left(lock: Path) -> bool:
        return lock.stem in stems if stems else lock.stem != own

    with observe_job("successor", service="faults"):
        folder = Path(os.environ["FIVEOBS_HOME"], "journal")
        deadline = time.monotonic() + 100
        while any(map(is_left, folder.glob("*.lock"))) and time.monotonic() < deadline:
            time.sleep(0.01)


def beats(count: int = 2) -> None:
    """Wait until the maintenance thread has come round so often."""
    before = witness.made["beats"]
    deadline = time.monotonic() + 20
    while witness.made["beats"] < before + count and time.monotonic() < deadline:
        time.sleep(0.01)


def stem() -> dict[str, Any]:
    pipeline = _runtime.get()
    assert pipeline is not None
    return {"stem": pipeline.journal.stem, "pid": os.getpid()}


def threads() -> dict[str, Any]:
    return {"threads": sorted(each.name for each in threading.enumerate())}


def limit(name: str, value: int) -> None:
    """Set a soft limit of the process, to the present use of descriptors where it is 0."""
    which = getattr(resource, name)
    hard = resource.getrlimit(which)[1]
    resource.setrlimit(which, (hard if value < 0 else value, hard))


def take_descriptors(left: int) -> None:
    """Open files until there are no more, then close some again."""
    taken = []
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    for _ in range(left):
        os.close(taken.pop())
    hoard["descriptors"] = taken


def give_descriptors() -> None:
    for each in hoard.pop("descriptors"):
        os.close(each)


def memory_error() -> None:
    """A job that asks for more memory than there is."""
    job_id = f"{PREFIX}-memory-{next(numbers)}"
    with (
        contextlib.suppress(MemoryError),
        observe_job("work", service="faults", job_id=job_id) as running,
    ):
        running.count("records", 3)
        bytearray(1 << 40)
    say(job=job_id, status="failed", counted=3)


def take_memory(left_bytes: int) -> list[bytearray]:
    """Limit the address space to what there is, use it all up, and give a little back."""
    limit("RLIMIT_AS", address_space() + (4 << 20))
    taken: list[bytearray] = []
    spare = [bytearray(4096) for _ in range(left_bytes // 4096)]
    for size_bytes in (1 << 20, 1 << 16, 1 << 12, 1 << 9):
        with contextlib.suppress(MemoryError):
            while True:
                taken.append(bytearray(size_bytes))
    spare.clear()
    return taken


def starve(left_bytes: int) -> dict[str, Any]:
    """Have everything sent with no memory left until that fails; why.

    Says so once there is none left, and reads nothing before there is some again: this thread
    cannot allocate either.
    """
    pipeline = _runtime.get()
    assert pipeline is not None
    shippers = list(pipeline.shippers.values())
    starving = json.dumps({"done": "take_memory"}).encode() + b"\n"
    taken = take_memory(left_bytes)
    os.write(1, starving)
    deadline = time.monotonic() + 20
    failed = False
    while not failed and time.monotonic() < deadline:
        with contextlib.suppress(MemoryError):
            for shipper in shippers:
                shipper.hurry(time.monotonic() + 1)
            time.sleep(0.01)
            failed = any("MemoryError" in each.health.last_error for each in shippers)
    taken.clear()
    limit("RLIMIT_AS", -1)
    return {"errors": " ".join(each.health.last_error for each in shippers)}


def eat() -> None:
    """Use memory until something ends the process."""
    eaten = []
    while True:
        job()
        eaten.append(b"x" * (1 << 20))


def address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def have_no_threads() -> None:
    """Ask for stacks that are larger than the address space that is left."""
    threading.stack_size(1 << 30)
    limit("RLIMIT_AS", address_space() + (1 << 29))


def stop_clock(at_ns: int) -> None:
    """Every process that is told so begins at the same moment."""
    time.time_ns = lambda: at_ns


def step_clock(by_s: int) -> None:
    """Everything in this process sees another time of day from now on."""
    real_ns, real_s = hoard.setdefault("clock", (time.time_ns, time.time))
    shifted = {
        "time_ns": lambda: real_ns() + by_s * 1_000_000_000,
        "time": lambda: real_s() + by_s,
    }
    for module in list(sys.modules.values()):
        for name, known in (("time_ns", (real_ns,)), ("time", (real_s,))):
            present = vars(module).get(name) if module is not None else None
            if present in known or getattr(present, "is_shifted", False):
                shifted[name].is_shifted = True  # type: ignore[attr-defined]
                setattr(module, name, shifted[name])


def end() -> None:
    sys.exit(0)


def leave() -> None:
    os._exit(0)


def main() -> None:
    for command, *args in json.loads(os.environ.get("WK_FIRST", "[]")):
        globals()[command](*args)
    fiveobs.configure(tracks=[witness])
    for line in told():
        command, *args = json.loads(line)
        answer = globals()[command](*args) or {}
        say(done=command, **answer)


if __name__ == "__main__":
    main()
