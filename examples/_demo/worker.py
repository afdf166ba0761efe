"""The demo's work: one job per source file, in worker processes of their own.

A worker is an ordinary process with an ordinary loop around a queue. It knows nothing of the demo's
display, which learns everything from the journal.
"""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from fiveobs import configure, current_job, observe_job

__all__ = ["JOB", "QUEUE", "SERVICE", "Task", "run"]

JOB, SERVICE, QUEUE = "index-file", "source-index", "files"


class Task(NamedTuple):
    """What goes through the queue: a file, and the ids of the job that was announced for it."""

    path: str
    carrier: dict[str, str]
    attempt: int = 1


@observe_job(
    JOB,
    service=SERVICE,
    carrier=lambda task: task.carrier,
    attempt=lambda task: task.attempt,
    stages=("Read", "Parse", "Count", "Hash"),
)
def index(task: Task) -> dict[str, int]:
    """Read, parse and count one file; raises what is wrong with it."""
    job = current_job()
    assert job is not None
    job.set(path=task.path)
    with job.stage("Read", unit="bytes") as stage:
        content = Path(task.path).read_bytes()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        text = content.decode(encoding)
        stage.advance(len(content))
    job.sizes(input_bytes=len(content))
    with job.stage("Parse"):
        tree = ast.parse(content, task.path)
    with job.stage("Count", unit="nodes") as stage:
        counts = _counts(tree, text)
        stage.advance(counts["nodes"])
    with job.stage("Hash"):
        digest = hashlib.sha256(content).hexdigest()
    job.milestone("Indexed", **counts)
    job.count("source.lines", counts["lines"], unit="{line}")
    job.result(**counts, sha256=digest)
    return counts


def _counts(tree: ast.AST, text: str) -> dict[str, int]:
    kinds = Counter(type(node).__name__ for node in ast.walk(tree))
    return {
        "lines": text.count("\n"),
        "functions": kinds["FunctionDef"] + kinds["AsyncFunctionDef"],
        "classes": kinds["ClassDef"],
        "nodes": kinds.total(),
    }


def run(name: str, tasks: Any) -> None:
    """Be a worker until ``None`` comes through the queue."""
    warnings.simplefilter("ignore")  # the files' own, such as invalid escape sequences
    configure(service=SERVICE, worker_id=name)
    while (task := tasks.get()) is not None:
        try:
            index(task)
        except Exception:  # the job has recorded it; the worker goes on
            continue
