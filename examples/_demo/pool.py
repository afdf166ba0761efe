"""The demo's worker processes: feeds them, and copes when one is killed.

Each worker has a queue of its own, since a process that is killed while it reads from a shared one
leaves it locked for all. What a dead worker was given and had not finished goes to the others; the
job it was in is tried again, as the second attempt of the same job.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import deque
from pathlib import Path
from typing import Any

from _demo.journal import State
from _demo.worker import JOB, QUEUE, SERVICE, Task, run
from fiveobs import ConnectorLogger, announce_job

__all__ = ["Pool"]

#: Tasks that a worker has ahead, the one it works on included.
_AHEAD = 4
_KILL = signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM


class _Process:
    """One worker, its queue, and what it has been given and not finished, by job id."""

    def __init__(self, name: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = name
        self.tasks: Any = context.SimpleQueue()
        self.given: dict[str, Task] = {}
        self.process = context.Process(target=run, args=(name, self.tasks), name=name)
        self.process.start()

    def end(self) -> None:
        """Let it finish and ship what it has recorded."""
        if self.process.is_alive():
            self.tasks.put(None)
        self.process.join(timeout=20)
        if self.process.is_alive():
            self.process.terminate()


class Pool:
    """Two workers, or more after a death.

    Args:
        session_id: Groups all the jobs.
        paths: Job id to the file it is about.
    """

    def __init__(self, session_id: str, paths: dict[str, Path]) -> None:
        self._session_id = session_id
        self._backlog: deque[tuple[str, Task]] = deque()
        self._started = 0
        self._processes: list[_Process] = []
        #: Workers that have died, and the file each was working on.
        self.deaths: dict[str, str] = {}
        for _ in range(2):
            self._start()
        for job_id, path in paths.items():
            carrier = announce_job(
                JOB, service=SERVICE, job_id=job_id, session_id=session_id, queue=QUEUE
            )
            self._backlog.append((job_id, Task(str(path), carrier)))

    def _start(self) -> None:
        self._started += 1
        self._processes.append(_Process(f"indexer-{self._started}"))

    def feed(self, state: State) -> None:
        """Give every worker enough to do; ``state`` says what is done."""
        for each in list(self._processes):
            for job_id in [job_id for job_id in each.given if job_id in state.ended]:
                del each.given[job_id]
            if each.process.is_alive():
                self._fill(each)

    def _fill(self, worker: _Process) -> None:
        while self._backlog and len(worker.given) < _AHEAD:
            job_id, task = self._backlog.popleft()
            worker.given[job_id] = task
            worker.tasks.put(task)

    def kill(self, state: State) -> bool:
        """Kill the first worker in the middle of a job; ``False`` if it is between two."""
        victim = self._processes[0]
        pid = victim.process.pid
        seen = state.workers.get(victim.name)
        if seen is None or not seen.job_id or pid is None:
            return False
        os.kill(pid, _KILL)
        victim.process.join()
        return True

    def bury(self, state: State) -> list[str]:
        """Take the work of dead workers back and start others; the names of the dead.

        Call it after a look at the journal: what a dead worker had finished is known from there.
        """
        dead = [each for each in self._processes if not each.process.is_alive()]
        for each in dead:
            self._processes.remove(each)
            seen = state.workers.get(each.name)
            self.deaths[each.name] = seen.path if seen else ""
            if seen:
                seen.is_dead = True
            left = [(id_, task) for id_, task in each.given.items() if id_ not in state.ended]
            for job_id, task in reversed(left):
                is_torn = seen is not None and seen.job_id == job_id
                again = self._retried(job_id, task) if is_torn else task
                self._backlog.appendleft((job_id, again))
            self._start()
        return [each.name for each in dead]

    def _retried(self, job_id: str, task: Task) -> Task:
        logger = ConnectorLogger(SERVICE, session_id=self._session_id)
        logger.with_job_context(job_id, attempt=task.attempt).job_retrying(
            error="the worker died in the middle of it"
        )
        return task._replace(attempt=task.attempt + 1)

    def end(self) -> None:
        """End all workers."""
        for each in self._processes:
            each.end()
