"""Figures of process and container, and queue sizes."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from fiveobs import _figures, _queues, observe_queue
from fiveobs._figures import Usage, memory_limit, usage, usage_between

TOTAL = psutil.virtual_memory().total
LIMIT = TOTAL // 2


def write(folder: Path, **files: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def test_a_cgroup_v2_limit_is_the_containers(tmp_path: Path) -> None:
    """``memory.max`` and ``memory.current`` of the root, which is what a container sees."""
    write(tmp_path, memory__max=LIMIT, memory__current=1000)
    assert memory_limit(tmp_path) == (1000, LIMIT)


def test_a_cgroup_v1_limit_is_the_containers(tmp_path: Path) -> None:
    """Where there is no v2."""
    write(tmp_path / "memory", memory__limit_in_bytes=LIMIT, memory__usage_in_bytes=1000)
    assert memory_limit(tmp_path) == (1000, LIMIT)


@pytest.mark.parametrize(
    "files",
    [
        {"memory__max": "max", "memory__current": 1000},
        {"memory__max": 1 << 62, "memory__current": 1000},
        {"memory__max": TOTAL * 4, "memory__current": 1000},
        {"memory__max": "", "memory__current": 1000},
        {"memory__max": "-1", "memory__current": 1000},
        {"memory__max": LIMIT},
        {},
    ],
)
def test_without_a_limit_it_is_the_machines_memory(tmp_path: Path, files: dict[str, Any]) -> None:
    """``max``, a number no machine has, files that are missing or say nothing."""
    write(tmp_path, **files)
    found = memory_limit(tmp_path)
    assert found.limit_bytes == TOTAL
    assert 0 < found.used_bytes < TOTAL


def test_the_nearest_group_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside a container's namespace the process's own group stands before those around it."""
    own = tmp_path / "system.slice" / "worker.service"
    write(own, memory__max="max", memory__current=1)
    write(own.parent, memory__max=LIMIT - 4096, memory__current=2)
    write(tmp_path, memory__max=LIMIT, memory__current=3)
    monkeypatch.setattr(_figures, "_own_groups", lambda root: [own, own.parent])
    assert memory_limit(tmp_path) == (2, LIMIT - 4096)


def test_own_groups_are_below_the_root(tmp_path: Path) -> None:
    """Whatever the kernel says, no folder outside is looked at."""
    assert all(tmp_path in each.parents for each in _figures._own_groups(tmp_path))


def test_what_was_used_in_between(tmp_path: Path) -> None:
    """Two looks make CPU, memory and IO; what the system does not give is left out."""
    data = usage_between(Usage(1.0, 100, 10, 20, 7, 30, 40), Usage(1.5, 300, 15, 40, 9, 32, 47))
    assert data == {
        "cpu_s": 0.5,
        "memory_rss_bytes": 300,
        "memory_growth_bytes": 200,
        "io_read_bytes": 5,
        "io_write_bytes": 20,
        "network_receive_bytes": 2,
        "network_transmit_bytes": 7,
    }
    assert "io_read_bytes" not in usage_between(Usage(1.0, 1, None, None), usage())


def test_usage_is_this_process() -> None:
    """Its CPU time and resident memory."""
    found = usage()
    assert found.cpu_s > 0
    assert found.rss_bytes > 1_000_000
    assert _figures.process().pid == os.getpid()


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs the kernel's /proc")
def test_memory_and_disk_are_what_psutil_says(tmp_path: Path) -> None:
    """The kernel's files read here, and psutil asked where they are not there, agree."""
    (tmp_path / "junk").write_text("what: is this\n")
    for path in (tmp_path / "none", tmp_path / "junk"):
        asked, read = _figures._rss_bytes(path), _figures._rss_bytes()
        assert asked == pytest.approx(read, abs=4 * 1024 * 1024)
        written, looked = _figures._io(path), _figures._io()
        assert written[1] == looked[1]
        assert written[2] <= looked[2]


def test_what_goes_over_the_network_is_counted() -> None:
    """A megabyte to this machine is received and sent."""
    before = usage()
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        sender = threading.Thread(target=client.sendall, args=(b"x" * 1_000_000,))
        sender.start()
        taken, _ = server.accept()
        with taken:
            received = 0
            while received < 1_000_000:
                received += len(taken.recv(65536))
        sender.join(10)
    moved = usage_between(before, usage())
    assert moved["network_receive_bytes"] >= 1_000_000
    assert moved["network_transmit_bytes"] >= 1_000_000


def test_network_counters_are_read_as_the_kernel_writes_them(tmp_path: Path) -> None:
    """A name may have colons and touch its first figure; without the file psutil is asked."""
    heads = "Inter-|   Receive    |  Transmit\n face |bytes packets|bytes packets\n"
    lines = "    lo: 100 1 0 0 0 0 0 0 200 2 0 0 0 0 0 0\neth0:1:7 1 0 0 0 0 0 0 9 2 0 0 0 0 0 0\n"
    (tmp_path / "dev").write_text(heads + lines)
    assert _figures._network(tmp_path / "dev") == (107, 209)
    (tmp_path / "many").write_text(heads + lines * 1000)  # more than is read at once
    assert _figures._network(tmp_path / "many") == (107_000, 209_000)
    assert _figures._network(tmp_path / "none")[0] is not None


# --- queues ---


@pytest.fixture(autouse=True)
def no_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_queues, "_sizes", {})


def test_queue_sizes_are_read_when_asked() -> None:
    """Each time anew; a queue that is taken back is gone."""
    waiting = [1, 2]
    observe_queue("images", lambda: len(waiting))
    assert _queues.queue_sizes() == {"images": 2.0}
    waiting.clear()
    assert _queues.queue_sizes() == {"images": 0.0}
    observe_queue("images", None)
    assert _queues.queue_sizes() == {}


def test_a_queue_that_cannot_be_read_is_left_out() -> None:
    """Its source raises or gives no number; the others are read."""
    observe_queue("down", lambda: 1 // 0)
    observe_queue("odd", lambda: None)  # type: ignore[arg-type,return-value]
    observe_queue("up", lambda: 3)
    assert _queues.queue_sizes() == {"up": 3.0}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("50000 100000", 0.5), ("max 100000", None), ("", None), ("1 0", None)],
    ids=["half", "no limit", "empty", "nonsense"],
)
def test_cpus_are_bounded_by_the_container(
    tmp_path: Path, text: str, expected: float | None
) -> None:
    """A quota of cgroup v2 below what the process is bound to is what it may use."""
    (tmp_path / "cpu.max").write_text(text)
    without = _figures.cpu_count(tmp_path / "nothing")
    assert without is not None
    assert without >= 1
    assert _figures.cpu_count(tmp_path) == (expected or without)
