"""Takes one track's lines from the journal to its destination, on a thread of its own.

One thread a track, so that a destination that never answers holds up nothing else. A batch is sent
until it is taken (at least once), with growing pauses; only what the destination refuses for good
is dropped, and counted. When our own lines are through, lines left by dead processes follow.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, NamedTuple, Protocol

from fiveobs._wake import Wake
from fiveobs.exceptions import DeliveryError
from fiveobs.journal.cursors import Position
from fiveobs.journal.reader import Batch, Reader

#: Our own, so that an application's seeded ``random`` gives what it would without us.
_chance = Random()

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
#: A destination may ask for a longer pause than ours, up to this.
_LONGEST_ASKED_PAUSE_S = 300.0
#: Refused parts of one batch after which the rest of it is not tried one by one any more; for each
#: part that is taken, some more. A destination that refuses everything is not asked 2,000 times.
_MAX_REFUSALS = 16
_REFUSALS_PER_TAKEN = 4
#: Errors in a row that are no ``DeliveryError``, after which a record is suspected of causing them.
_SUSPICIOUS_ERRORS = 5


class Destination(Protocol):
    """Where a shipper delivers to; used by one thread only."""

    #: Most records of one delivery.
    max_records: int
    #: Most bytes of journal lines of one delivery.
    max_bytes: int

    def ship(self, lines: list[bytes], timeout_s: float, origin: Mapping[str, Any]) -> int:
        """Deliver the lines, all of the process that ``origin`` describes (a resource).

        Returns:
            How many the destination rejected or could not be used; those are dropped.

        Raises:
            DeliveryError: None of them was taken.
        """

    def close(self) -> None:
        """Give up connections; idempotent, does not wait."""


class Health(NamedTuple):
    """How a shipper fares."""

    #: Deliveries that failed since the last one that worked.
    failures: int
    #: The last failure's message; empty while things work.
    last_error: str


class _UnreadableError(DeliveryError):
    """The journal is there and cannot be read."""


class _SuspectedError(DeliveryError):
    """The destination raises what it should not, perhaps because of a record."""


class _Adopted(NamedTuple):
    reader: Reader
    done: Callable[[], None]


class Shipper:
    """Ships one track.

    Args:
        track: The track's name.
        destination: Where to.
        reader: The track's reader of this process's own journal.
        end: Gives the present end of that journal.
        interval_s: How long to rest when there is nothing to ship.
        timeout_s: Longest single delivery.
        report: Called with a cause and a message when deliveries fail or lines are dropped.
        clock: The monotonic clock; pauses go by it.
    """

    def __init__(
        self,
        track: str,
        destination: Destination,
        reader: Reader,
        end: Callable[[], Position],
        *,
        interval_s: float,
        timeout_s: float,
        report: Callable[[str, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.track = track
        self.health = Health(0, "")
        self._destination = destination
        self._reader = reader
        self._end = end
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._report = report
        self._clock = clock
        self._pid = os.getpid()
        #: Errors in a row that the destination should not raise.
        self._defects = 0
        self._adopted: deque[_Adopted] = deque()
        self._wake = Wake()
        self._moved = threading.Condition()
        self._stopping = False
        #: Until when a flush wants everything out, on the monotonic clock; 0 when none does.
        self._flush_until = 0.0
        self._resume_at = 0.0
        #: The same, if the destination has asked for the pause: no hurry of ours ends that.
        self._asked_until = 0.0
        self._thread = threading.Thread(target=self._run, name=f"fiveobs-{track}", daemon=True)

    def start(self) -> None:
        """Begin to ship, unless that has begun.

        Raises:
            RuntimeError: The system gives no thread now; it may be tried again.
        """
        if self._thread.ident is None and not self._stopping:
            self._thread.start()

    def adopt(self, reader: Reader, done: Callable[[], None]) -> None:
        """Also ship a dead process's lines; ``done`` is called when all of them are through."""
        self._adopted.append(_Adopted(reader, done))
        self._wake.set()

    def hurry(self, deadline: float) -> None:
        """Send what there is now rather than later; does not wait.

        A pause that the destination asked for is kept.
        """
        if self._is_elsewhere():
            return
        self._flush_until = max(self._flush_until, deadline)
        self._resume_at = self._asked_until
        self._wake.set()

    def _is_elsewhere(self) -> bool:
        """Whether this is a forked child: it has no shipper thread, and locks may be held."""
        return os.getpid() != self._pid

    def flush(self, deadline: float) -> bool:
        """Wait until what is in the journal now has been taken, or until ``deadline``.

        Args:
            deadline: On the monotonic clock.

        Returns:
            Whether everything went through; false at once where the destination has asked for
            silence until after the deadline.
        """
        if self._is_elsewhere():
            return False
        target = self._end()
        self.hurry(deadline)
        with self._moved:
            while self._reader.saved_position() < target and self._thread.is_alive():
                left = deadline - self._clock()
                if left <= 0 or self._asked_until > deadline:
                    return False
                self._moved.wait(min(left, 0.1))
        if self._flush_until == deadline:
            self._flush_until = 0.0  # there is no hurry any more
        return self._reader.saved_position() >= target

    def finish(self, deadline: float) -> None:
        """Wait until adopted lines are through as well, until a failure or until ``deadline``."""
        if self._is_elsewhere() or not self._has_leftovers():
            return
        self.hurry(deadline)
        with self._moved:
            while self._has_leftovers() and self._thread.is_alive():
                left = deadline - self._clock()
                if left <= 0:
                    return
                self._moved.wait(min(left, 0.1))

    def _has_leftovers(self) -> bool:
        """Whether there are adopted lines, and the destination takes them."""
        return bool(self._adopted) and not self.health.failures

    def close(self, deadline: float) -> None:
        """Stop; waits for the thread until ``deadline``, then leaves it to end by itself."""
        if self._is_elsewhere():
            return
        self._stopping = True
        self._wake.set()
        if self._thread.ident is None:
            self._close_destination()
        elif self._thread is not threading.current_thread():
            self._thread.join(max(0.0, deadline - self._clock()))

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping:
                try:
                    self._work()
                except MemoryError:  # met also where a failure is noted; it may pass
                    time.sleep(_FIRST_PAUSE_S)
        finally:
            self._close_destination()

    def _work(self) -> None:
        """Ship until there is nothing to do, then rest."""
        progressed = self._turn()
        with self._moved:
            self._moved.notify_all()
        if not progressed and not self._stopping:
            self._wake.wait(self._rest_s())

    def _turn(self) -> bool:
        """One step; whatever goes wrong with it must not end the shipping."""
        try:
            return self._step()
        except Exception as exc:
            self._failed(exc)
            return False

    def _close_destination(self) -> None:
        try:
            self._destination.close()
        except Exception as exc:
            self._report(self.track, f"close: {type(exc).__name__}: {exc}")

    def _rest_s(self) -> float:
        rest = max(self._resume_at - self._clock(), 0.0)
        if self._flushing():
            return min(rest, 0.2) or 0.01
        return rest or self._interval_s

    def _flushing(self) -> bool:
        return self._clock() < self._flush_until

    def _step(self) -> bool:
        """Ship one batch; ``False`` when there is nothing to do now."""
        if self._is_pausing():
            return False
        if self._ship_from(self._reader):
            return True
        return any(self._ship_adopted(each) for each in list(self._adopted))

    def _is_pausing(self) -> bool:
        return self._clock() < self._resume_at

    def _ship_adopted(self, adopted: _Adopted) -> bool:
        """Ship one batch of a dead process, or leave it when it is through."""
        try:
            if self._ship_from(adopted.reader):
                return True
        except _UnreadableError as exc:  # left unfinished: whoever adopts it next tries again
            self._report(self.track, f"a dead process's journal: {exc}")
        if self._is_through(adopted.reader):  # sums are through only when they have been sent
            self._adopted.remove(adopted)
            adopted.done()
        return False

    def _is_through(self, reader: Reader) -> bool:
        """Whether everything read from the reader is committed."""
        return True

    def _ship_from(self, reader: Reader) -> bool:
        """Ship one batch; ``False`` if there is none, and what is wrong as an exception."""
        batch, origin = self._next_batch(reader)
        if not batch.lines:
            if self._is_through(reader):
                reader.commit(batch.start, batch.end, delivered=0, dropped=0)
            return False
        try:
            dropped = self._deliver(batch.lines, origin)
        except BaseException:
            reader.rewind(batch.start)
            raise
        self._delivered(reader, batch, dropped)
        return True

    def _next_batch(self, reader: Reader) -> tuple[Batch, Mapping[str, Any]]:
        destination = self._destination
        try:
            origin = reader.origin()
            return reader.next_batch(destination.max_records, destination.max_bytes), origin
        except OSError as exc:
            raise _UnreadableError(f"cannot be read: {exc}") from exc

    def _delivered(self, reader: Reader, batch: Batch, dropped: int) -> None:
        count = len(batch.lines) - dropped
        reader.commit(batch.start, batch.end, delivered=count, dropped=dropped)
        self.health = Health(0, "" if count else self.health.last_error)

    def _deliver(self, lines: list[bytes], origin: Mapping[str, Any]) -> int:
        """Send the lines; a refused batch is halved until the refused records are found."""
        waiting, rejected, refusals, taken = [lines], 0, 0, 0
        refused: list[tuple[int, DeliveryError]] = []
        while waiting:
            part = waiting.pop()
            try:
                rejected += self._send(part, origin)
                taken += 1
            except DeliveryError as exc:
                if not exc.permanent:
                    raise
                refusals += 1
                if len(part) > 1 and refusals < _MAX_REFUSALS + _REFUSALS_PER_TAKEN * taken:
                    half = len(part) // 2
                    waiting += [part[half:], part[:half]]
                else:
                    refused.append((len(part), exc))
        self._drop_refused(refused, is_taking=taken > 0)
        self._defects = 0
        return rejected + sum(count for count, _ in refused)

    def _send(self, lines: list[bytes], origin: Mapping[str, Any]) -> int:
        """One delivery; how many of the lines were rejected."""
        try:
            rejected = self._destination.ship(lines, self._delivery_timeout_s(), origin)
        except (DeliveryError, OSError, MemoryError):
            raise
        except Exception as exc:
            # A defect. A record that causes it must not stop the track for good: when it has
            # happened again and again, the record is looked for as refused ones are.
            self._defects += 1
            if self._defects <= _SUSPICIOUS_ERRORS:
                raise
            raise _SuspectedError(f"{type(exc).__name__}: {exc}", permanent=True) from exc
        return min(max(rejected, 0), len(lines))

    def _drop_refused(self, refused: list[tuple[int, DeliveryError]], *, is_taking: bool) -> None:
        for _, exc in refused:
            if isinstance(exc, _SuspectedError) and not is_taking:
                raise exc  # nothing works, so it is not for these records
        for count, exc in refused:
            self.health = Health(self.health.failures, str(exc))
            self._report(self.track, f"{count} records were refused and dropped: {exc}")

    def _delivery_timeout_s(self) -> float:
        if not self._flushing():
            return self._timeout_s
        return min(self._timeout_s, max(0.05, self._flush_until - self._clock()))

    def _failed(self, exc: Exception) -> None:
        failures = self.health.failures + 1
        message = str(exc) if isinstance(exc, DeliveryError) else f"{type(exc).__name__}: {exc}"
        self.health = Health(failures, message)
        self._resume_at = self._clock() + _pause_s(failures, exc)
        asked = isinstance(exc, DeliveryError) and exc.retry_after_s is not None
        self._asked_until = self._resume_at if asked else 0.0
        self._report(self.track, f"{message}; it stays in the journal and is sent again")


class Summing(Destination, Protocol):
    """A destination that sums lines and sends the sums."""

    def export(self, timeout_s: float) -> None:
        """Send the present sums; ``DeliveryError`` if they were not taken."""


class _Held(NamedTuple):
    """Lines of one segment that are summed while the sums are not sent."""

    reader: Reader
    start: Position
    end: Position
    delivered: int
    dropped: int

    def is_followed_by(self, other: _Held) -> bool:
        """Whether both can be committed as one."""
        return self.reader is other.reader and self.end.segment == other.start.segment

    def extended_by(self, other: _Held) -> _Held:
        """Both as one."""
        return self._replace(
            end=other.end,
            delivered=self.delivered + other.delivered,
            dropped=self.dropped + other.dropped,
        )


class SumShipper(Shipper):
    """Ships a track whose destination sums lines: they count as delivered when the sums are sent.

    Until then they stay behind the cursor, so that a process that dies unheard is not forgotten:
    whoever adopts its journal sums those lines again.

    Args:
        export_interval_s: How often the sums are sent.
    """

    def __init__(
        self,
        track: str,
        destination: Summing,
        reader: Reader,
        end: Callable[[], Position],
        *,
        export_interval_s: float,
        **settings: Any,
    ) -> None:
        super().__init__(track, destination, reader, end, **settings)
        self._summing = destination
        self._export_interval_s = export_interval_s
        self._due_at = self._clock() + export_interval_s
        #: What is summed and not sent.
        self._held: list[_Held] = []

    def _step(self) -> bool:
        if super()._step():
            return True
        now = self._clock()
        wanted = now >= self._due_at or (self._flushing() and bool(self._held))
        if wanted and now >= self._resume_at:
            return self._export(now)
        return False

    def _delivered(self, reader: Reader, batch: Batch, dropped: int) -> None:
        held = _Held(reader, batch.start, batch.end, len(batch.lines) - dropped, dropped)
        last = self._held[-1] if self._held else held
        if last is not held and last.is_followed_by(held):
            self._held[-1] = last.extended_by(held)
        else:
            self._held.append(held)

    def _is_through(self, reader: Reader) -> bool:
        return all(held.reader is not reader for held in self._held)

    def _export(self, now: float) -> bool:
        """Send the sums; whether that has moved a cursor."""
        self._summing.export(self._delivery_timeout_s())  # if refused: the next sums hold it too
        self._due_at = now + self._export_interval_s
        self.health = Health(0, "")
        held, self._held = self._held, []
        for reader, start, end, delivered, dropped in held:
            reader.commit(start, end, delivered=delivered, dropped=dropped)
        return bool(held)


def _pause_s(failures: int, exc: Exception) -> float:
    asked = exc.retry_after_s if isinstance(exc, DeliveryError) else None
    if asked is not None:
        return max(_FIRST_PAUSE_S, min(asked, _LONGEST_ASKED_PAUSE_S))
    pause = min(_FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16), _LONGEST_PAUSE_S)
    return pause * _chance.uniform(0.8, 1.2)
