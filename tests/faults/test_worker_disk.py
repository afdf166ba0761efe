"""Disks that are full, read-only or cleared under a running worker."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fiveobs.cli._accounts import account
from tests.faults.conservation import SENT_TRACKS, Balance, Did, balances, check
from tests.faults.small_disk import SmallDisk
from tests.faults.worker_runs import (
    Worker,
    drops_of,
    finish,
    held_by,
    received_once,
    settle,
)
from tests.support.shipping import age
from tests.support.workers import Destinations

#: So little memory that an outage of some hundred jobs overflows it.
SCARCE = {"FIVEOBS_JOURNAL_MEMORY_BYTES": "128KiB", "FIVEOBS_JOURNAL_SEGMENT_BYTES": "64KiB"}


@pytest.mark.parametrize("listening", [True, False])
def test_what_a_full_disk_costs_is_counted_to_the_record(
    listening: bool, fiveobs_home: Path
) -> None:
    """Lines go to memory; what that cannot hold is counted; with room again records go on.

    While receivers listen, what is dropped depends on who is quicker; if they are down, some of
    every track is.
    """
    with SmallDisk(fiveobs_home, "size=400k") as disk, Destinations() as there:
        with Worker(there.settings() | SCARCE, prefix=disk.prefix) as worker:
            worker.ask("jobs", 20, 300)
            for each in there.all if not listening else ():
                each.stop()
            disk.fill()
            worker.ask("jobs", 100 if listening else 400, 300)
            disk.free()
            worker.ask("beats", 3)
            for each in there.all if not listening else ():
                each.start()
            worker.ask("jobs", 20, 300)
            drops = drops_of(worker, there)
            assert listening or min(drops.values()) > 0, drops
            drops["events"] = worker.ask("sums")["sums"]["events"]["dropped"]
            assert drops["events"] > 0
            assert worker.end() == 0
        on_disk = counted(disk.home)
        assert {track: sums.dropped for track, sums in on_disk.items()} == drops
        newest = {record.get("job_id") for _, _, record in there.forward.records}
        assert list(Did.of(worker.told).jobs)[-1] in newest


def counted(home: Path) -> dict[str, Balance]:
    """Each track's sums as files have them; they must add up, and have been compared."""
    for stem in account(home / "journal"):
        assert {sums.counted_stems for sums in stem.tracks.values()} == {1}, stem
    return balances(home)


#: A worker that has not a word to say but what it is told to.
QUIET = {"FIVEOBS_HEARTBEAT_INTERVAL": "60"}
#: How it ends, what it says then (``worker.stopped``), and its exit code.
ENDS: dict[str, tuple[Callable[[Worker], int], int, int]] = {
    "normally": (lambda worker: worker.end(), 1, 0),
    "by SIGTERM": (lambda worker: worker.kill(signal.SIGTERM), 1, -signal.SIGTERM),
    "by SIGKILL": (lambda worker: worker.kill(), 0, -signal.SIGKILL),
}


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("how", ENDS)
def test_who_dies_on_a_full_disk_is_counted_to_the_record(
    how: str, protocol: str, fiveobs_home: Path
) -> None:
    """What was in memory only is gone, and the files say of each track how much it was."""
    end, said, code = ENDS[how]
    with SmallDisk(fiveobs_home, "size=400k") as disk, Destinations(protocol=protocol) as there:
        for each in there.all:
            each.stop()
        settings = there.settings() | SCARCE | QUIET | {"FIVEOBS_SHUTDOWN_TIMEOUT": "0.5"}
        with Worker(settings, prefix=disk.prefix) as worker:
            worker.ask("jobs", 20, 300)
            disk.fill()
            worker.ask("jobs", 300, 300)
            made = worker.ask("sums")["made"]
            assert end(worker) == code
        made["events"] += said
        made["logs"] += said
        found = counted(disk.home)
        assert {track: sums.accepted for track, sums in found.items()} == {
            track: made[track] for track in found
        }
        for track, sums in found.items():
            assert sums.dropped > 0, (track, sums)
            assert (sums.pending > 0) == (track != "events"), (track, sums)
        disk.free()
        for each in there.all:
            each.start()
        age(disk.home / "journal")
        finish(there, prefix=disk.prefix)
        later, received = counted(disk.home), received_once(there)
        for track in SENT_TRACKS:
            assert (later[track].pending, later[track].dropped) == (0, found[track].dropped)
            assert received[track] == later[track].delivered, (track, received, later)


@pytest.mark.parametrize("how", ["normally", "by SIGTERM"])
def test_who_ends_on_a_full_disk_delivers_from_memory(how: str, fiveobs_home: Path) -> None:
    """Only the events are dropped that no file has; what was delivered counts as delivered."""
    end, said, code = ENDS[how]
    with SmallDisk(fiveobs_home, "size=400k") as disk, Destinations() as there:
        with Worker(there.settings() | QUIET, prefix=disk.prefix) as worker:
            worker.ask("jobs", 20, 300)
            disk.fill()
            worker.ask("jobs", 100, 300)
            sums = worker.ask("sums")
            assert end(worker) == code
        found, received = counted(disk.home), received_once(there)
        assert found["events"].accepted == sums["made"]["events"] + said
        assert found["events"].dropped == sums["sums"]["events"]["pending"] + said
        for track in SENT_TRACKS:
            assert (found[track].pending, found[track].dropped) == (0, 0), (track, found)
            assert received[track] == found[track].delivered == found[track].accepted


def test_a_disk_without_inodes_loses_nothing(fiveobs_home: Path) -> None:
    """No file can be made any more: lines wait in memory and go to disk when files can be made."""
    with SmallDisk(fiveobs_home, "size=8m,nr_inodes=40") as disk, Destinations() as there:
        for each in there.all:
            each.stop()
        settings = there.settings() | {"FIVEOBS_JOURNAL_SEGMENT_BYTES": "64KiB"}
        with Worker(settings, prefix=disk.prefix) as worker:
            worker.ask("jobs", 10)
            made = []
            try:
                for number in range(100):
                    made.append(disk.home / f"taken-{number}")
                    made[-1].touch()
            except OSError:
                made.pop()
            worker.ask("jobs", 200)
            assert worker.ask("sums")["sums"]["events"]["pending"] > 0  # they are in memory
            for path in made:
                path.unlink()
            worker.ask("beats", 3)
            assert worker.ask("sums")["sums"]["events"]["pending"] == 0  # all on disk again
            for each in there.all:
                each.start()
            assert set(drops_of(worker, there).values()) == {0}
            assert worker.end() == 0
        check(disk.home, held_by(there), Did.of(worker.told))


def test_a_limit_on_file_sizes_loses_nothing(fiveobs_home: Path) -> None:
    """``RLIMIT_FSIZE`` ends a file amid a line; the half line is undone and a new file begun."""
    with Destinations() as there:
        with Worker(there.settings()) as worker:
            worker.ask("limit", "RLIMIT_FSIZE", 300_000)
            worker.ask("jobs", 300)
            worker.ask("beats", 2)
            worker.ask("jobs", 300)
            assert worker.end() == 0
        found = settle(there, fiveobs_home, worker)
        assert found["logs"].accepted >= 600 * 4
    sizes = [path.stat().st_size for path in (fiveobs_home / "journal").glob("*.log")]
    assert len(sizes) > 1
    assert max(sizes) <= 300_000


@pytest.mark.parametrize("what", ["journal", "home"])
def test_a_deleted_journal_loses_nothing_while_the_worker_lives(
    what: str, fiveobs_home: Path
) -> None:
    """What was in the deleted files is still sent, and new files are begun."""
    with Destinations() as there:
        for each in there.all:
            each.stop()
        with Worker(there.settings()) as worker:
            worker.ask("jobs", 50)
            shutil.rmtree(fiveobs_home / "journal" if what == "journal" else fiveobs_home)
            worker.ask("jobs", 50)
            worker.ask("beats", 3)
            worker.ask("jobs", 50)
            assert list((fiveobs_home / "journal").glob("*.lock"))
            for each in there.all:
                each.start()
            assert set(drops_of(worker, there).values()) == {0}
            assert worker.end() == 0
        assert held_by(there).total("jobs.processed") == 150


def test_what_follows_a_deletion_survives_a_kill(fiveobs_home: Path) -> None:
    """The new files have a lock and cursors, so another process delivers what is in them."""
    with Destinations() as there:
        with Worker(there.settings()) as worker:
            worker.ask("jobs", 10)
            assert worker.ask("flush", 20)["flushed"]
            shutil.rmtree(fiveobs_home)
            worker.ask("beats", 3)
            for each in there.all:
                each.stop()
            worker.ask("jobs", 50)
            worker.kill()
        for each in there.all:
            each.start()
        later = [line for line in worker.told if "job" in line][10:]
        with Worker(there.settings()) as other:
            other.ask("jobs", 1)
            assert other.end() == 0
        finish(there)
        received = {record.get("job_id") for _, _, record in there.forward.records}
        assert {line["job"] for line in later} <= received
        assert held_by(there).total("jobs.processed") >= 60


def test_a_journal_made_read_only_loses_nothing(fiveobs_home: Path) -> None:
    """Immutable files refuse even root; lines wait in memory until they can be written."""
    with Destinations() as there:
        for each in there.all:
            each.stop()
        with Worker(there.settings()) as worker:
            worker.ask("jobs", 10)
            journal = fiveobs_home / "journal"
            files = [str(path) for path in (*journal.glob("*.log"), journal)]
            refused = _chattr("+i", *files)
            try:
                if refused:
                    pytest.skip(f"needs chattr: {refused}")
                worker.ask("jobs", 100)
                pending = worker.ask("sums")["sums"]["events"]["pending"]
                assert pending >= 100 * 5  # they are in memory
            finally:
                _chattr("-i", *files)
            worker.ask("beats", 3)
            assert worker.ask("sums")["sums"]["events"]["pending"] == 0
            worker.kill()
        for each in there.all:
            each.start()
        settle(there, fiveobs_home, worker, was_killed=True)


def _chattr(*arguments: str) -> str:
    """Why it could not be done; empty if it was."""
    try:
        done = subprocess.run(["chattr", *arguments], check=False, capture_output=True)
    except FileNotFoundError:
        return "it is not installed"
    return done.stderr.decode().strip() or "refused" if done.returncode else ""


def test_a_file_system_that_fails_is_outlived(fiveobs_home: Path, tmp_path: Path) -> None:
    """An ext4 that turns read-only on an error: everything is sent from memory."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        os.truncate(file.fileno(), 8 << 20)
    try:
        subprocess.run(["/usr/sbin/mkfs.ext4", "-q", str(image)], check=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        pytest.skip(f"needs mkfs.ext4: {exc}")
    disk = SmallDisk(fiveobs_home, "errors=remount-ro", image=image)
    with disk, Destinations() as there:
        with Worker(there.settings(), prefix=disk.prefix) as worker:
            worker.ask("jobs", 20)
            device = disk.home.stat().st_dev
            name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
            trigger = Path(f"/sys/fs/ext4/{name}/trigger_fs_error")
            if not trigger.exists():
                pytest.skip("needs a kernel that can be told to find an error in an ext4")
            trigger.write_text("1")
            worker.ask("jobs", 100)
            assert set(drops_of(worker, there).values()) == {0}
            assert worker.end() == 0
        assert held_by(there).total("jobs.processed") == 120


def test_strange_files_in_the_folder_disturb_nothing(fiveobs_home: Path) -> None:
    """Backups, folders and rubbish beside the journal are left alone and stop no delivery."""
    with Destinations() as there:
        for each in there.all:
            each.stop()
        with Worker(there.settings()) as worker:
            worker.ask("jobs", 20)
            worker.kill()
        journal = fiveobs_home / "journal"
        (segment,) = journal.glob("*.log")
        stem = segment.name.partition(".000001")[0]
        shutil.copy(segment, journal / f"{segment.name}.bak")
        shutil.copytree(journal, journal / "backup")
        (journal / f"{stem}.lock.swp").write_bytes(b"\0\xff")
        (journal / "rubbish.lock").write_bytes(b"\0\xff")
        (journal / "nobody.logs.cursor").write_text("rubbish")
        for each in there.all:
            each.start()
        kept = {path.name for path in (journal / "backup").iterdir()}
        finish(there)
        assert kept == {path.name for path in (journal / "backup").iterdir()}
        assert (journal / f"{segment.name}.bak").exists()
        check(fiveobs_home, held_by(there), Did.of(worker.told), was_killed=True)
