"""A worker on a Redis stream with a consumer group, which gives a dead consumer's jobs to others.

``stream_worker.py send COUNT`` announces and sends jobs; ``stream_worker.py work NAME`` works until
the group has nothing left. With ``HOLD=1`` it stays in its first job for good.
"""

from __future__ import annotations

import json
import os
import sys
import threading

import redis

from fiveobs import announce_job, current_job, observe_job

STREAM, GROUP = "jobs", "workers"
#: A job that nobody has acknowledged for so long is taken from its consumer.
GIVE_UP_MS = 300

client = redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)


def say(**what):
    """Tell the test."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def send(count):
    """The producer."""
    client.xgroup_create(STREAM, GROUP, mkstream=True)
    with observe_job("upload", service="shop") as upload:
        for number in range(count):
            headers = announce_job("resize-image", service="thumbnails", queue=STREAM)
            client.xadd(STREAM, {"number": number, "headers": json.dumps(headers)})
    say(trace_id=upload.trace_id)


def deliveries(message_id):
    """How often the group has handed a message out."""
    (pending,) = client.xpending_range(STREAM, GROUP, message_id, message_id, 1)
    return pending["times_delivered"]


@observe_job(
    "resize-image",
    service="thumbnails",
    carrier=lambda message_id, message: json.loads(message["headers"]),
    attempt=lambda message_id, message: deliveries(message_id),
)
def resize(message_id, message):
    """The work."""
    say(holds=current_job().job_id)
    if os.environ.get("HOLD"):
        threading.Event().wait()


def take(name):
    """The next message: one that a dead consumer held, or a new one."""
    _, claimed, *_ = client.xautoclaim(STREAM, GROUP, name, GIVE_UP_MS, count=1)
    if claimed:
        return claimed[0]
    answer = client.xreadgroup(GROUP, name, {STREAM: ">"}, count=1, block=50)
    return answer[0][1][0] if answer else None


def unfinished():
    """Whether the group has something that is not acknowledged."""
    (group,) = client.xinfo_groups(STREAM)
    return group["pending"] or group["lag"]


def work(name):
    """The consumer."""
    while unfinished():
        taken = take(name)
        if taken is not None:
            resize(*taken)
            client.xack(STREAM, GROUP, taken[0])


if __name__ == "__main__":
    verb, argument = sys.argv[1:]
    send(int(argument)) if verb == "send" else work(argument)
