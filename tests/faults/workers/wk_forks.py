"""Parents that fork in their own ways; the first argument names one. Prints as ``wk_obeys``."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import wk_obeys
from wk_obeys import say

import fiveobs
from fiveobs import _runtime
from fiveobs._loading import loading
from fiveobs._wake import Wake
from fiveobs.tracks._grpc_forks import calls

#: A child that takes longer hangs.
CHILD_TIMEOUT_S = 20.0
#: Nobody holds a lock of ours for longer, unless he waits for another one.
LOCK_TIMEOUT_S = 0.1
LOCK_TYPES = (type(threading.Lock()), type(threading.RLock()))


def wait_for(pid: int) -> None:
    """Wait for a child; kill and name one that hangs, and name one that did not end well."""
    deadline = time.monotonic() + CHILD_TIMEOUT_S
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            if status:
                say(hung=pid, ended=os.waitstatus_to_exitcode(status))
            return
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    say(hung=pid)


def child(leave: str, fork: Any = os.fork, *, fails: bool = False) -> None:
    """One task in a process of its own, as prefork servers that recycle after each task do."""
    pid = fork()
    if pid:
        wait_for(pid)
        return
    wk_obeys.PREFIX = os.urandom(4).hex()
    wk_obeys.job(fails=fails)
    if leave == "flush":
        started_s = time.monotonic()
        flushed = fiveobs.flush()
        say(flushed=flushed, took_s=time.monotonic() - started_s)
    (sys.exit if leave == "exit" else os._exit)(0)


def prefork(parent: str, leave: str, children: str) -> None:
    """A parent that has used fiveobs once and then only forks, or that never uses it."""
    if parent == "idle":
        wk_obeys.job()
    for number in range(int(children)):
        child(leave, fails=number % 2 == 0)
    os._exit(0)


def prefork_busy(leave: str, children: str) -> None:
    """A parent that sends all the while it forks."""
    wk_obeys.job()
    over = threading.Event()

    def send() -> None:
        while not over.is_set():
            wk_obeys.job()
            fiveobs.flush()

    sending = threading.Thread(target=send)
    sending.start()
    for _ in range(int(children)):
        child(leave)
    over.set()
    sending.join()


def c_fork_busy(children: str) -> None:
    """Forks from C, each while a call of gRPC's goes on: the receiver does not answer."""
    fork = ctypes.PyDLL(None).fork
    wk_obeys.job()
    for _ in range(int(children)):
        wait_for_call()
        child("exit", fork)


def c_fork(children: str) -> None:
    """A fork that runs none of Python's hooks, between deliveries of all tracks."""
    fork = ctypes.PyDLL(None).fork
    for number in range(int(children)):
        wk_obeys.job()
        fiveobs.flush()
        wait_for_sleep()  # CPython itself cannot cope with a thread that is awake
        child("exit", fork, fails=number % 2 == 0)


def wait_for_sleep() -> None:
    """Wait until every other thread sleeps: none has run between two looks."""
    deadline = time.monotonic() + CHILD_TIMEOUT_S
    before = None
    while time.monotonic() < deadline:
        seen = threads()
        if seen == before and all(state == "S" for state, _, _ in seen):
            return
        before = seen
        time.sleep(0.02)
    say(hung="awake", threads=before)


def wait_for_call() -> None:
    """Have gRPC called, and wait until the call has just looked for its end and sleeps again.

    It looks every 0.2 s, and asks for the interpreter's lock then.
    """
    pipeline = _runtime.get()
    assert pipeline is not None
    deadline = time.monotonic() + CHILD_TIMEOUT_S
    pipeline.shippers["traces"].hurry(deadline)
    while time.monotonic() < deadline:
        before = threads()
        while calls._turns and threads() == before:
            time.sleep(0.005)
        wait_for_sleep()
        if calls._turns:
            return
    say(hung="without a call")


def threads() -> list[tuple[str, str, int]]:
    """How each thread is."""
    return sorted(map(look_at, Path("/proc/self/task").iterdir()))


def look_at(task: Path) -> tuple[str, str, int]:
    """A thread's state, its id, and how often it has gone to sleep; our own sleeps, too."""
    if int(task.name) == threading.get_native_id():
        return "S", task.name, 0
    with contextlib.suppress(FileNotFoundError):
        status = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
        return status["State"].split()[0], task.name, int(status["voluntary_ctxt_switches"])
    return "ended", task.name, 0


def our_locks() -> list[Any]:
    """Every lock that an object or a module of ours has.

    A `Wake` has none: what it holds is its state, and belongs to no thread.
    """
    found = {}
    for each in gc.get_objects():
        is_ours = str(type(each).__module__).partition(".")[0] == "fiveobs"
        if is_ours and each is not loading and not isinstance(each, Wake):
            values = getattr(each, "__dict__", {}).values()
            slots = (getattr(each, name, None) for name in getattr(type(each), "__slots__", ()))
            for value in (*values, *slots):
                lock = value._lock if isinstance(value, threading.Condition) else value
                if isinstance(lock, LOCK_TYPES):
                    found[id(lock)] = lock
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "fiveobs":
            for value in vars(module).values():
                values = value.values() if isinstance(value, dict) else (value,)
                found |= {id(each): each for each in values if isinstance(each, LOCK_TYPES)}
    return list(found.values())


def take_all(locks: list[Any]) -> bool:
    """Take every lock; if one is not to be had, let go of all and begin again.

    Whoever has that one may be waiting for one of those that we have.
    """
    deadline = time.monotonic() + CHILD_TIMEOUT_S
    while time.monotonic() < deadline:
        with contextlib.ExitStack() as taken:
            for lock in locks:
                if not lock.acquire(timeout=LOCK_TIMEOUT_S):
                    break
                taken.callback(lock.release)
            else:
                taken.pop_all()
                return True
    return False


def locks_held(children: str) -> None:
    """Fork while another thread holds every lock of ours; the child works and ends."""
    wk_obeys.job()
    fiveobs.flush()
    locks = our_locks()
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        if take_all(locks):
            held.set()
            over.wait(2 * CHILD_TIMEOUT_S)
            for lock in reversed(locks):
                lock.release()

    for _ in range(int(children)):
        held.clear()
        over.clear()
        holder = threading.Thread(target=hold)
        holder.start()
        if not held.wait(2 * CHILD_TIMEOUT_S):
            say(hung="the locks cannot be had")
            os._exit(1)
        child("exit")
        over.set()
        holder.join()
    say(locks=len(locks))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
