"""A worker program for tests: a job that goes on by one step for each line of its input.

Run as ``python steps.py JOB_ID``; prints ``ready`` once the job has begun.
"""

from __future__ import annotations

import sys

from fiveobs import observe_job


def main() -> None:
    """Read steps: ``advance``, ``log``, ``check``, ``fail`` or ``end``."""
    with observe_job("count", service="steps", job_id=sys.argv[1], stages=("Read", "Write")) as job:
        with job.stage("Read", total=4) as stage:
            print("ready", flush=True)
            for line in sys.stdin:
                step = line.strip()
                if step == "end":
                    break
                if step == "fail":
                    raise ValueError("told to fail")
                stage.advance()
                job.log.warning("one more")
                job.checkpoint()
        with job.stage("Write"):
            job.milestone("Written")


if __name__ == "__main__":
    main()
