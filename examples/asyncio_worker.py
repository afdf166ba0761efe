"""Workers of an ``asyncio.Queue``: many jobs at once in one thread, and one that is cancelled.

A small server on this machine hands out the modules of Python's ``asyncio`` package; four workers
fetch and hash them, one job per file, with the ids kept apart although all share one thread. One
address never answers: when the program ends, its job ends as ``cancelled``, which is neither
completed nor an error.

    python examples/asyncio_worker.py [--workers N]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sys
import sysconfig
from pathlib import Path

from fiveobs import current_job, observe_job

FOLDER = Path(sysconfig.get_path("stdlib")) / "asyncio"
#: The server accepts a request for this name and never answers it.
SILENT = "never-answers"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send the file that is asked for."""
    name = (await reader.readline()).decode().strip()
    try:
        if name != SILENT:
            writer.write((FOLDER / name).read_bytes())
            await writer.drain()
        else:
            await reader.read()  # until the other side has had enough
    finally:
        writer.close()


@observe_job("fetch", service="mirror", request_id=lambda _port, name: f"get-{name}")
async def fetch(port: int, name: str) -> str:
    """Fetch a file and give its digest."""
    job = current_job()
    assert job is not None
    async with job.stage("Download", unit="bytes") as stage:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"{name}\n".encode())
            content = bytearray()
            while part := await reader.read(16_384):
                content += part
                stage.advance(len(part))
                await job.acheckpoint()  # lets somebody stop or pause the job from outside
        finally:
            writer.close()
    job.sizes(output_bytes=len(content))
    return hashlib.sha256(content).hexdigest()


async def run(workers: int) -> int:
    """Fill the queue, wait until only the silent address is left, then cancel."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    names = sorted(path.name for path in FOLDER.glob("*.py"))
    queue: asyncio.Queue[str] = asyncio.Queue()
    for name in (SILENT, *names):
        queue.put_nowait(name)
    digests: dict[str, str] = {}
    all_fetched = asyncio.Event()

    async def work() -> None:
        """Take names from the queue for ever; ended by cancellation."""
        while True:
            name = await queue.get()
            digests[name] = await fetch(port, name)
            if len(digests) == len(names):
                all_fetched.set()

    tasks = [asyncio.create_task(work()) for _ in range(workers)]
    async with asyncio.timeout(20):
        await all_fetched.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    server.close()
    print(f"{len(digests)} files fetched by {workers} workers; the one that hung was cancelled")
    print(f"\nLook next:  fiveobs find get-{SILENT}")
    print("  the job that was cancelled, found by the request it belonged to")
    return 0


def main() -> int:
    """Run the workers until the work is done."""
    parser = argparse.ArgumentParser(description="Fetch files with asyncio workers.")
    parser.add_argument("--workers", type=int, default=4)
    return asyncio.run(run(max(2, parser.parse_args().workers)))


if __name__ == "__main__":
    sys.exit(main())
