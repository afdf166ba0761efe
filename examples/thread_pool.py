"""Jobs in threads: a pool whose work belongs to the job that submitted it.

Compresses the modules of Python's library, one job per file, in a ``ContextThreadPoolExecutor``. A
new thread knows nothing of the job that starts it; this executor, and ``bind_context`` for a plain
``threading.Thread``, take it along. So every compression is a child of the one job around them, in
the same trace, and what the watching thread says is logged with the outer job's ids.

    python examples/thread_pool.py [--threads N] [--files N]
"""

from __future__ import annotations

import argparse
import sys
import sysconfig
import threading
import zlib
from pathlib import Path

from fiveobs import ContextThreadPoolExecutor, bind_context, current_job, get_logger, observe_job

log = get_logger(__name__)


@observe_job("compress-file", service="archive")
def compress(path: Path) -> tuple[int, int]:
    """The size of a file before and after."""
    content = path.read_bytes()
    packed = zlib.compress(content, level=9)
    job = current_job()
    assert job is not None
    job.sizes(input_bytes=len(content), output_bytes=len(packed))
    job.record("compression.ratio", len(content) / len(packed))
    return len(content), len(packed)


def watch(finished: threading.Event, done: list[int]) -> None:
    """Say now and then how far it is; runs beside the pool, in the outer job's context."""
    while not finished.wait(0.25):
        log.info("still compressing", files=len(done))


def compress_all(paths: list[Path], threads: int) -> None:
    """One job for the folder, with a child for each file."""
    with observe_job("compress-folder", service="archive") as job:
        finished, done = threading.Event(), list[int]()
        watcher = threading.Thread(target=bind_context(watch), args=(finished, done))
        watcher.start()
        before = after = 0
        with ContextThreadPoolExecutor(threads) as pool:
            for size, packed in pool.map(compress, paths):
                before, after = before + size, after + packed
                done.append(size)
                job.progress(done=len(done), total=len(paths))
        finished.set()
        watcher.join()
        job.result(files=len(paths), before_bytes=before, after_bytes=after)
        print(f"{len(paths)} files in {threads} threads: {before:,} bytes became {after:,}")
        print(f"\nLook next:  fiveobs find {job.trace_id}")
        print("  the folder's job and its children are one trace")


def main() -> int:
    """Compress the largest modules."""
    parser = argparse.ArgumentParser(description="Compress Python's library in threads.")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--files", type=int, default=60)
    args = parser.parse_args()
    modules = Path(sysconfig.get_path("stdlib")).glob("*.py")
    paths = sorted(modules, key=lambda path: path.stat().st_size, reverse=True)
    compress_all(paths[: args.files], args.threads)
    return 0


if __name__ == "__main__":
    sys.exit(main())
