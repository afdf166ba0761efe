"""One half of a queue between two processes: announces jobs and sends their ids along.

Puts a message for each of a few files into a queue that a second process, ``consumer.py``, works
off. ``announce_job`` records that the job was received and gives the carrier: a few headers that
travel with the message, whatever the queue is. So the consumer's job has the same ``job_id`` and
trace, and how long it waited is known. The last message names a file that does not exist.

Starts the consumer itself, unless told ``--no-consumer``.

    python examples/producer.py [--files N] [--no-consumer] [--queue FOLDER]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from _spool import default_folder, open_queue

from fiveobs import announce_job, observe_job

CONSUMER = Path(__file__).with_name("consumer.py")


def messages(count: int) -> list[dict[str, Any]]:
    """What there is to do; the last of it cannot be done."""
    library = Path(sysconfig.get_path("stdlib"))
    paths = [*sorted(library.glob("*.py"))[:count], library / "does-not-exist.py"]
    return [{"path": str(path), "attempt": 1} for path in paths]


def produce(folder: Path, count: int) -> str:
    """Announce and send everything, as one job; its trace id."""
    queue = open_queue(folder)
    with observe_job("plan-outlines", service="producer") as job:
        for message in messages(count):
            message["headers"] = announce_job(
                "outline",
                service="consumer",
                queue="outlines",
                request_id=Path(message["path"]).name,
            )
            queue.put(message)
            print(f"sent     {message['path']}")
    return job.trace_id


def main() -> int:
    """Fill the queue and, unless told otherwise, have it worked off."""
    parser = argparse.ArgumentParser(description="Send a few jobs to another process.")
    parser.add_argument("--files", type=int, default=5)
    parser.add_argument("--no-consumer", action="store_true", help="start none")
    parser.add_argument("--queue", type=Path, default=default_folder())
    args = parser.parse_args()
    trace_id = produce(args.queue, args.files)
    if args.no_consumer:
        print("\nNow run:  python examples/consumer.py")
    else:
        command = [sys.executable, str(CONSUMER), "--queue", str(args.queue), "--idle", "0.5"]
        subprocess.run(command, check=True)
    print(f"\nLook next:  fiveobs find {trace_id}")
    print("  both processes in one trace: 'job.received' by the producer, the rest by the consumer")
    return 0


if __name__ == "__main__":
    sys.exit(main())
