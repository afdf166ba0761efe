"""What a death is concluded from what is known of it."""

from __future__ import annotations

import signal

import pytest

from fiveobs.monitor.evidence import (
    EXITED,
    KILLED,
    OUT_OF_MEMORY,
    Exit,
    Limits,
    Memory,
    Use,
    conclude,
    reached,
)

MIB = 1024 * 1024
FULL = "memory was 99 MiB of 100 MiB"
LIMIT = "its address space was at its limit"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0, Exit(exit_code=0)),
        (7 << 8, Exit(exit_code=7)),
        (9, Exit(signal=9)),
        (0x80 | 11, Exit(signal=11, has_core=True)),
    ],
)
def test_a_status_is_read_as_waitpid_has_it(status: int, expected: Exit) -> None:
    """A signal, with or without a core dump, or an exit code."""
    assert Exit.of_status(status) == expected


@pytest.mark.parametrize(
    ("ended", "memory", "cause", "is_certain"),
    [
        (Exit(signal=9), Memory(), KILLED, False),
        (Exit(signal=9), Memory(is_named=False), KILLED, True),
        (Exit(signal=9), Memory(is_named=False, oom_kills=1, was_full=FULL), KILLED, True),
        (Exit(signal=9), Memory(oom_kills=0, was_full=FULL), KILLED, True),
        (Exit(signal=9), Memory(oom_kills=1), OUT_OF_MEMORY, False),
        (Exit(signal=9), Memory(oom_kills=0, machine_kills=1), KILLED, True),
        (Exit(signal=9), Memory(machine_kills=1), OUT_OF_MEMORY, False),
        (Exit(signal=9), Memory(machine_kills=0, was_full=FULL), KILLED, True),
        (Exit(signal=9), Memory(oom_kills=0, is_named=True), OUT_OF_MEMORY, True),
        (Exit(signal=9), Memory(was_full=FULL), OUT_OF_MEMORY, False),
        (Exit(signal=9), Memory(oom_kills=0, limit_reached=LIMIT), KILLED, True),
        (Exit(signal=6), Memory(), KILLED, True),
        (Exit(signal=6), Memory(limit_reached=LIMIT), OUT_OF_MEMORY, False),
        (Exit(signal=11), Memory(said_so=True), OUT_OF_MEMORY, False),
        (Exit(exit_code=7), Memory(), EXITED, True),
        (Exit(exit_code=0), Memory(limit_reached=LIMIT), EXITED, True),
        (Exit(exit_code=1), Memory(limit_reached=LIMIT), OUT_OF_MEMORY, False),
        (None, Memory(), KILLED, False),
        (None, Memory(is_named=False, was_full=FULL), KILLED, False),
        (None, Memory(was_full=FULL), OUT_OF_MEMORY, False),
        (None, Memory(is_named=True), OUT_OF_MEMORY, True),
    ],
)
def test_the_cause(ended: Exit | None, memory: Memory, cause: str, is_certain: bool) -> None:
    """What the system says is certain; what memory suggests is not."""
    found = conclude(ended, memory)
    assert (found.cause, found.is_certain) == (cause, is_certain)
    assert found.evidence


def test_an_end_that_nobody_saw() -> None:
    """Who did not say that it stops was killed, who did has exited; neither is certain."""
    silent, said = (conclude(None, Memory(), has_stopped=each) for each in (False, True))
    assert (silent.cause, silent.is_certain, said.cause, said.is_certain) == (
        *(KILLED, False),
        *(EXITED, False),
    )
    assert "worker.stopped" in silent.evidence[-1]
    assert "signal" not in silent.data()


def test_what_the_event_says() -> None:
    """The signal by its name, or the exit code; neither if nobody knows."""
    assert conclude(Exit(signal=9), Memory()).data()["signal"] == "SIGKILL"
    assert conclude(Exit(exit_code=7), Memory()).data()["exit_code"] == 7
    assert conclude(None, Memory()).data().keys() == {"cause", "is_certain", "evidence"}
    assert Exit(signal=signal.SIGRTMIN + 1).signal_name == "signal 35"


def use(at_s: float, size: int, peak: int = 0) -> Use:
    return Use(at_s, size * MIB, (peak or size) * MIB, 0, 0)


@pytest.mark.parametrize(
    ("uses", "is_reached"),
    [
        ([], False),
        ([use(0, 10), use(1, 10)], False),
        ([use(0, 10), use(1, 96)], True),
        ([use(0, 10), use(1, 20, peak=97)], True),
        ([use(0.0, 10), use(0.1, 60)], True),
        ([use(0.0, 10), use(0.1, 12)], False),
    ],
)
def test_a_limit_is_reached_or_was_about_to_be(uses: list[Use], is_reached: bool) -> None:
    """By the most that it had, or by how it grew until it ended."""
    assert bool(
        reached(Limits(100 * MIB), uses, 0.2 if len(uses) < 2 else uses[-1].at_s + 0.1)
    ) is (is_reached)
    assert reached(Limits(), uses, 1.0) == ""
