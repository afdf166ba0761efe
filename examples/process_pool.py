"""Jobs in a ``multiprocessing`` pool, forked or spawned.

Counts the tokens of Python's library, one job per package, in a pool of processes. ``announce_job``
gives each part an id of its own and the carrier that takes the trace along; the child goes on with
it. Each process has a pipeline and a journal file of its own, forked or not, and nothing has to be
closed: what a child has recorded is shipped before it ends.

    python examples/process_pool.py [--start-method fork|spawn] [--processes N]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import sysconfig
import token
import tokenize
from pathlib import Path
from typing import NamedTuple

from fiveobs import announce_job, current_job, observe_job

PACKAGES = ("asyncio", "email", "http", "importlib", "json", "logging", "sqlite3", "unittest")


class Part(NamedTuple):
    """What is sent to a child: the work, and the carrier of the ids."""

    package: str
    carrier: dict[str, str]


class Count(NamedTuple):
    """What comes back."""

    package: str
    tokens: int
    pid: int
    trace_id: str


@observe_job("count-tokens", service="statistics", carrier=lambda part: part.carrier)
def count(part: Part) -> Count:
    """Count the names and operators in one package; runs in a child."""
    job = current_job()
    assert job is not None
    folder = Path(sysconfig.get_path("stdlib")) / part.package
    tokens = 0
    for path in sorted(folder.glob("*.py")):
        with path.open("rb") as file:
            kinds = (each.type for each in tokenize.tokenize(file.readline))
            tokens += sum(kind in (token.NAME, token.OP) for kind in kinds)
    job.result(package=part.package, tokens=tokens)
    return Count(part.package, tokens, os.getpid(), job.trace_id)


def count_all(method: str, processes: int) -> int:
    """Spread the packages over the pool, inside one job."""
    context = multiprocessing.get_context(method)
    with observe_job("count-library", service="statistics") as job:
        parts = [Part(name, announce_job("count-tokens", queue="pool")) for name in PACKAGES]
        pool = context.Pool(processes)
        results = pool.map(count, parts, chunksize=1)
        pool.close()  # not terminate(): let the children end by themselves
        pool.join()
        for result in results:
            print(f"  {result.package:<12} {result.tokens:>8,} tokens, by process {result.pid}")
        job.result(tokens=sum(result.tokens for result in results))
    same = {result.trace_id for result in results} == {job.trace_id}
    pids = len({result.pid for result in results})
    print(f"{len(results)} packages in {pids} processes ({method}), parent {os.getpid()}")
    print(f"one trace in all of them: {'yes' if same else 'NO'}")
    print(f"\nLook next:  fiveobs find {job.trace_id}")
    return 0 if same else 1


def main() -> int:
    """Choose how processes are started."""
    known = multiprocessing.get_all_start_methods()
    methods = [name for name in ("fork", "spawn") if name in known]
    parser = argparse.ArgumentParser(description="Count tokens in a pool of processes.")
    parser.add_argument("--start-method", choices=methods, default=methods[0])
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    return count_all(args.start_method, args.processes)


if __name__ == "__main__":
    sys.exit(main())
