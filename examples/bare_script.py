"""The least there is to write: a decorator on a function of an ordinary script.

Finds files with the same content in a folder (Python's own library unless you name another). The
outer function becomes a job with two stages and progress; the function that it calls becomes a job
of its own, a child of the first. Needs no destination: everything is in the journal.

    python examples/bare_script.py [FOLDER]
"""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from collections import defaultdict
from pathlib import Path

from fiveobs import current_job, observe_job


@observe_job("find-duplicates", service="housekeeping", stages=("Hashing", "Grouping"))
def find_duplicates(folder: Path) -> list[list[Path]]:
    """The groups of files that have the same content."""
    job = current_job()
    assert job is not None
    found = (path for path in sorted(folder.rglob("*.py")) if "site-packages" not in path.parts)
    files = [path for path in found if path.is_file() and path.stat().st_size]
    by_digest: dict[str, list[Path]] = defaultdict(list)
    with job.stage("Hashing", total=len(files), unit="files") as stage:
        for path in files:
            by_digest[hashlib.sha256(path.read_bytes()).hexdigest()].append(path)
            stage.advance()
    with job.stage("Grouping"):
        groups = [paths for paths in by_digest.values() if len(paths) > 1]
    job.milestone("Groups found", groups=len(groups))
    job.count("files.hashed", len(files), unit="{file}")
    report(groups)
    job.result(files=len(files), groups=len(groups))
    print(f"{len(files)} files in {folder}: {len(groups)} groups have the same content")
    print(f"\nLook next:  fiveobs find {job.job_id}")
    return groups


@observe_job  # named for the function, a child of the job that calls it
def report(groups: list[list[Path]]) -> None:
    """Print the largest groups."""
    job = current_job()
    assert job is not None
    for paths in sorted(groups, key=len, reverse=True)[:3]:
        job.log.info("same content", files=len(paths), first=str(paths[0]))
        print(f"  {len(paths):>3} files are the same as {paths[0]}")


def main() -> int:
    """Run the job on the folder named on the command line."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else sysconfig.get_path("stdlib"))
    find_duplicates(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
