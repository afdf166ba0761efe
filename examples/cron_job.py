"""A job that a scheduler starts: check-ins that tell when it does not run, or fails.

Packs Python's ``json`` package into an archive and verifies it, as a nightly backup would.
``monitor=`` sends a check-in when the job begins and one when it ends (``ok`` or ``error``), so
that Sentry notices a run that failed, took too long, or never came; with the schedule given here,
it sets the monitor up by itself. ``--fail`` damages the archive, so that verifying it really fails.

    SENTRY_DSN=… python examples/cron_job.py [--fail]
"""

from __future__ import annotations

import argparse
import os
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

from fiveobs import flush, observe_job

MONITOR = {
    "slug": "nightly-backup",
    "schedule": {"type": "crontab", "value": "15 2 * * *"},
    "timezone": "UTC",
    "checkin_margin": 10,  # minutes it may come late
    "max_runtime": 30,  # minutes it may take
}


def pack(folder: Path, archive: Path) -> int:
    """Write the archive; how many files it has."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.glob("*.py")):
            file.write(path, path.name)
        return len(file.namelist())


def damage(archive: Path) -> None:
    """Flip bits in the middle of the archive, as a bad disk would."""
    content = bytearray(archive.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(byte ^ 0xFF for byte in content[middle : middle + 64])
    archive.write_bytes(content)


def verify(archive: Path) -> None:
    """Read everything back."""
    with zipfile.ZipFile(archive) as file:
        for name in file.namelist():
            file.read(name)


def back_up(archive: Path, *, fail: bool) -> None:
    """The nightly job."""
    with observe_job("back-up", service="operations", monitor=MONITOR) as job:
        print(f"job {job.job_id}")
        with job.stage("Pack"):
            count = pack(Path(sysconfig.get_path("stdlib")) / "json", archive)
        job.gauge("backup.size", archive.stat().st_size, unit="By")
        if fail:
            damage(archive)
        with job.stage("Verify"):
            verify(archive)
        job.result(files=count)
        print(f"{count} files packed and verified")


def main() -> int:
    """Run once, as cron would; the exit code tells cron how it went."""
    parser = argparse.ArgumentParser(description="A nightly backup with check-ins.")
    parser.add_argument("--fail", action="store_true", help="damage the archive")
    args = parser.parse_args()
    code = 0
    with tempfile.TemporaryDirectory() as folder:
        try:
            back_up(Path(folder) / "backup.zip", fail=args.fail)
        except Exception as error:
            print(f"the backup failed: {error}")
            code = 1
    if not flush():
        print("not everything was delivered; the next run will try again")
    where = "sent to Sentry" if os.environ.get("SENTRY_DSN") else "not sent: SENTRY_DSN is not set"
    print(f"\ncheck-ins of {MONITOR['slug']!r}: {where}")
    print("Look next:  fiveobs find the job's id above, or fiveobs doctor")
    return code


if __name__ == "__main__":
    sys.exit(main())
