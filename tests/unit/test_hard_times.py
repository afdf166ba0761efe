"""What the library does when descriptors, threads, memory or the clock fail it."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from fiveobs import _figures
from fiveobs.journal import writer
from fiveobs.journal.adoption import Adopter, has_pending
from fiveobs.journal.cursors import CursorFile, CursorState, cursor_path, load_cursor, read_cursor
from fiveobs.journal.locks import StemLock
from fiveobs.journal.reader import Reader, StemFiles
from fiveobs.journal.records import is_log
from fiveobs.journal.segments import segment_files
from fiveobs.tracks._sums import Sums


def _refuse(*_: object, **__: object) -> Any:
    raise OSError(errno.EMFILE, "Too many open files")


def _dead_stem(folder: Path) -> Path:
    """A stem with a lock that nobody holds; its lock file."""
    (folder / "m-1-1.000001.log").write_bytes(b'{"id":"a-1","event_type":"log"}\n')
    cursor_path(folder, "m-1-1", "logs").write_text("[1, 0, 0, 0]")
    lock = folder / "m-1-1.lock"
    lock.touch()
    os.utime(lock, (1, 1))
    return lock


def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever adopts then must not believe that a dead process left nothing."""
    _dead_stem(tmp_path)
    assert segment_files(tmp_path / "absent") == []
    monkeypatch.setattr(os, "listdir", _refuse)
    with pytest.raises(OSError, match="Too many open files"):
        segment_files(tmp_path)
    assert has_pending(tmp_path, "m-1-1")


def test_a_cursor_that_cannot_be_read_is_not_taken_for_an_absent_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else everything would be repeated, and the sums forgotten; who only looks sees zeros."""
    path = cursor_path(tmp_path, "m-1-1", "logs")
    assert read_cursor(path) == CursorState()
    path.write_text("[1, 10, 2, 0]")
    assert read_cursor(path).delivered == 2
    monkeypatch.setattr(Path, "read_bytes", _refuse)
    with pytest.raises(OSError, match="Too many open files"):
        read_cursor(path)
    assert load_cursor(path) == CursorState()


def test_an_adoption_that_fails_gives_the_lock_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nobody could adopt the files for as long as the adopter lives."""
    lock = _dead_stem(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "listdir", _refuse)
        with pytest.raises(OSError, match="Too many open files"):
            Adopter(tmp_path, {}).scan()
    assert not StemLock(lock).is_held_elsewhere()
    assert lock.exists()


def test_a_lock_file_from_a_time_to_come_is_looked_at(tmp_path: Path) -> None:
    """The clock was set back: what was left before must not wait until it has caught up."""
    lock = _dead_stem(tmp_path)
    cursor_path(tmp_path, "m-1-1", "logs").unlink()  # nothing left to ship
    os.utime(lock, (time.time() + 9000, time.time() + 9000))
    Adopter(tmp_path, {}).scan()
    assert not lock.exists()


def test_a_stem_is_never_taken_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pid comes again, and so may the time: the earlier files stay what they are."""
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    first = writer._new_stem(tmp_path, "m")
    (tmp_path / f"{first}.000001.log").touch()
    second = writer._new_stem(tmp_path, "m")
    assert second != first
    (tmp_path / f"{second}.lock").touch()
    assert writer._new_stem(tmp_path, "m") not in (first, second)


def test_a_flush_is_over_when_the_cursor_is_saved(tmp_path: Path) -> None:
    """Else a process that ends right after it would have its last batch sent again."""
    segment = tmp_path / "m-1-1.000001.log"
    segment.write_bytes(b'{"id":"a-1","event_type":"log"}\n')
    saving, may_save, seen = threading.Event(), threading.Event(), threading.Event()

    class SlowFile(CursorFile):
        def save(self, state: CursorState) -> None:
            saving.set()
            may_save.wait(10)
            super().save(state)

    path = cursor_path(tmp_path, "m-1-1", "logs")
    reader = Reader(StemFiles(tmp_path, "m-1-1"), is_log, SlowFile(path), CursorState())
    batch = reader.next_batch(10, 1000)
    committing = threading.Thread(
        target=lambda: reader.commit(batch.start, batch.end, delivered=1, dropped=0)
    )
    committing.start()
    assert saving.wait(10)
    asking = threading.Thread(target=lambda: (reader.saved_position(), seen.set()))
    asking.start()
    assert not seen.wait(0.2)
    may_save.set()
    committing.join()
    asking.join()
    assert read_cursor(path).delivered == 1


def test_exports_never_go_back_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backends refuse a point that is older than its start or than the one before."""
    now_ns = time.time_ns()
    sums = Sums(10)
    monkeypatch.setattr(time, "time_ns", lambda: now_ns - 3_600_000_000_000)
    times = [sums._now_ns() for _ in range(3)]
    assert times == sorted(set(times))
    assert times[0] > now_ns
    monkeypatch.setattr(time, "time_ns", lambda: now_ns + 3_600_000_000_000)
    assert sums._now_ns() == now_ns + 3_600_000_000_000


def test_figures_that_cannot_be_read_are_the_last_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A heartbeat and a stage's end are recorded without a descriptor, too."""
    known = _figures.usage().rss_bytes
    monkeypatch.setattr(_figures, "process", _refuse)
    monkeypatch.setattr(_figures, "_content", _refuse)
    monkeypatch.setattr(_figures.psutil, "virtual_memory", _refuse)
    used = _figures.usage()
    assert used.rss_bytes == known > 0
    assert used.io_read_bytes is None
    assert _figures.memory_limit() == (0, 0)


def test_a_pipeline_without_threads_records_and_tries_again(
    monkeypatch: pytest.MonkeyPatch, fiveobs_home: Path
) -> None:
    """Jobs are in the journal; the threads are started with a later job."""
    from fiveobs import _runtime, configure, observe_job, shutdown

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        configure(heartbeat_interval_s=0.01)
        with observe_job("unheard"):
            pass
    pipeline = _runtime.get()
    assert pipeline is not None
    assert pipeline.threads_due_at
    lines = b"".join(path.read_bytes() for path in (fiveobs_home / "journal").glob("*.log"))
    assert b"job.completed" in lines
    pipeline.start_threads()
    assert not pipeline.threads_due_at
    assert "fiveobs-heartbeat" in [each.name for each in threading.enumerate()]
    assert shutdown()
