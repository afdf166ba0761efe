"""What the kernel says of its kills, read from trees as systems have them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fiveobs.monitor.kills import KernelLog, Kills, counters

PID = 4242


class Clock:
    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


def tree(root: Path, cgroup: str, *files: str) -> list[Path]:
    """A procfs with one process and a cgroup tree with these files; what counts its kills."""
    (root / "proc" / str(PID)).mkdir(parents=True)
    (root / "proc" / str(PID) / "cgroup").write_text(cgroup)
    for name in files:
        path = root / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("low 0\noom 1\noom_kill 0\n")
    found = counters(PID, proc=root / "proc", cgroups=root / "cgroup")
    return [path.relative_to(root / "cgroup") for path in found]


def test_the_cgroup_of_version_2_counts(tmp_path: Path) -> None:
    """The process's own one first, then those above it; the root has no such file."""
    found = tree(
        tmp_path,
        "0::/a.slice/b.scope\n",
        "a.slice/b.scope/memory.events",
        "a.slice/memory.events",
        "other/memory.events",
    )
    assert found == [Path("a.slice/b.scope/memory.events"), Path("a.slice/memory.events")]


def test_the_cgroup_of_version_1_counts(tmp_path: Path) -> None:
    """The memory controller's, whichever other controllers there are."""
    cgroup = "5:devices:/x\n4:cpu,memory:/docker/1\n0::/y\n"
    found = tree(
        tmp_path,
        cgroup,
        "memory/docker/1/memory.oom_control",
        "memory/docker/memory.oom_control",
        "devices/x/memory.oom_control",
    )
    assert found == [
        Path("memory/docker/1/memory.oom_control"),
        Path("memory/docker/memory.oom_control"),
    ]


def test_version_2_beside_version_1_counts(tmp_path: Path) -> None:
    """Where it is mounted as ``unified``."""
    assert tree(tmp_path, "0::/y\n", "unified/y/memory.events") == [Path("unified/y/memory.events")]


@pytest.mark.parametrize("cgroup", ["", "0::/nowhere\n", "1:cpu:/x\n", "what is this\n"])
def test_no_cgroup_counts(tmp_path: Path, cgroup: str) -> None:
    """One that we do not see has no counters; nor has a process that is gone."""
    assert tree(tmp_path, cgroup) == []
    assert counters(PID + 1, proc=tmp_path / "proc", cgroups=tmp_path / "cgroup") == []


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("memory.events", "low 0\nhigh 0\nmax 7\noom 3\noom_kill {}\noom_group_kill 9\n"),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"),
        ("vmstat", "nr_free_pages 5\noom_kill {}\n"),
    ],
)
def test_kills_are_those_of_the_last_seconds(tmp_path: Path, name: str, form: str) -> None:
    """What was counted longer ago is of no matter, in whichever file it stands."""
    clock, path = Clock(), tmp_path / name
    kills = Kills(clock, proc=tmp_path)
    path.write_text(form.format(3))
    assert kills.since(path) is None
    kills.count(path)
    assert kills.since(path) == 0
    path.write_text(form.format(5))
    assert kills.since(path) == 2
    for _ in range(12):
        clock.s += 1.0
        kills.count(path)
    assert kills.since(path) == 0
    path.unlink()
    assert kills.since(path) is None
    assert kills.machine == tmp_path / "vmstat"


def test_a_file_that_does_not_count_kills(tmp_path: Path) -> None:
    """A kernel older than 4.13 has no such line: nothing is known."""
    kills, path = Kills(Clock(), proc=tmp_path), tmp_path / "memory.oom_control"
    path.write_text("oom_kill_disable 0\nunder_oom 0\n")
    kills.count(path)
    assert kills.since(path) is None


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    near, far = os.pipe()
    os.set_blocking(near, False)
    yield near, far
    os.close(far)


def test_the_log_names_who_was_killed(pipe: tuple[int, int]) -> None:
    """Others it does not name, and says so, as long as it can be read."""
    near, far = pipe
    log = KernelLog(near, Clock())
    os.write(
        far, b"6,1,2,-;Memory cgroup out of memory: Killed process 4242 (python) total-vm:1kB\n"
    )
    os.write(far, b"3,2,3,-;oom-kill:constraint=CONSTRAINT_MEMCG,task=python,pid=17,uid=0\n")
    assert log.names(4242) is True
    assert log.names(17) is False
    log.forget(4242)
    assert log.names(4242) is False
    log.close()
    assert log.names(4242) is None


def test_a_log_that_cannot_be_read_says_nothing() -> None:
    """That it does not name somebody is no evidence then."""
    assert KernelLog(-1, Clock()).names(1) is None


def test_a_log_with_a_gap_is_no_evidence(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a while after lines were lost, who is not named may have been."""
    near, far = pipe
    clock = Clock()
    log = KernelLog(near, clock)
    os.write(far, b"Killed process 7\n")
    read, lost = os.read, [True]

    def overrun(fd: int, size: int) -> bytes:
        if lost:
            lost.clear()
            raise BrokenPipeError  # as /dev/kmsg says it
        return read(fd, size)

    monkeypatch.setattr("fiveobs.monitor.kills.os.read", overrun)
    assert (log.names(7), log.names(8)) == (True, None)
    clock.s += 11
    assert log.names(8) is False
    log.close()
