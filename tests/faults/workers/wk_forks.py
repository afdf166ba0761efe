"""Parents that fork in their own ways; the first argument names one. Prints as ``wk_obeys``."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import threading
import time
from typing import Any

import wk_obeys
from wk_obeys import say

import fiveobs
from fiveobs._loading import loading

#: A child that takes longer hangs.
CHILD_TIMEOUT_S = 20.0
LOCK_TYPES = (type(threading.Lock()), type(threading.RLock()))


def wait_for(pid: int) -> None:
    """Wait for a child; kill and name one that hangs."""
    deadline = time.monotonic() + CHILD_TIMEOUT_S
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    say(hung=pid)


def child(leave: str, fork: Any = os.fork) -> None:
    """One task in a process of its own, as prefork servers that recycle after each task do."""
    pid = fork()
    if pid:
        wait_for(pid)
        return
    wk_obeys.PREFIX = os.urandom(4).hex()
    wk_obeys.job()
    if leave == "flush":
        started_s = time.monotonic()
        flushed = fiveobs.flush()
        say(flushed=flushed, took_s=time.monotonic() - started_s)
    (sys.exit if leave == "exit" else os._exit)(0)


def prefork(parent: str, leave: str, children: str) -> None:
    """A parent that has used fiveobs once and then only forks, or that never uses it."""
    if parent == "idle":
        wk_obeys.job()
    for _ in range(int(children)):
        child(leave)
    os._exit(0)


def c_fork(children: str) -> None:
    """A fork that runs none of Python's hooks, between deliveries of all tracks."""
    fork = ctypes.PyDLL(None).fork
    for _ in range(int(children)):
        wk_obeys.job()
        fiveobs.flush()
        # Until every thread of ours sleeps: CPython itself cannot cope with one that is awake.
        child("exit", lambda: time.sleep(0.2) or fork())  # type: ignore[func-returns-value]


def our_locks() -> list[Any]:
    """Every lock that an object or a module of ours has."""
    found = {}
    for each in gc.get_objects():
        if str(type(each).__module__).partition(".")[0] == "fiveobs" and each is not loading:
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


def locks_held(children: str) -> None:
    """Fork while another thread holds every lock of ours; the child works and ends."""
    wk_obeys.job()
    fiveobs.flush()
    locks = our_locks()
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        for lock in locks:
            lock.acquire()
        held.set()
        over.wait()
        for lock in reversed(locks):
            lock.release()

    for _ in range(int(children)):
        held.clear()
        over.clear()
        holder = threading.Thread(target=hold)
        holder.start()
        held.wait()
        child("exit")
        over.set()
        holder.join()
    say(locks=len(locks))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
