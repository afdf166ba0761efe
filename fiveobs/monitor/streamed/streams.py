"""Reads what the stream-monitoring API answers from, all of one moment, and has the answer made."""

from __future__ import annotations

from fiveobs.monitor.store import reading, related
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.streamed.answers import (
    Place,
    exceptions_answer,
    overview_of,
    status_and_metrics,
    status_of,
)
from fiveobs.monitor.streamed.models import Exceptions, JobStatus, Overview, StatusAndMetrics
from fiveobs.monitor.tracker import Tracker
from fiveobs.monitor.tracking.progress import sums
from fiveobs.monitor.tracking.tracked import Tracked

__all__ = ["MOST_ERRORS", "Streams"]

#: Exceptions of one answer.
MOST_ERRORS = 100


class Streams:
    """Makes the answers of the stream-monitoring API.

    Methods for one job raise ``KeyError`` with its id where there is no such job in the project.

    Args:
        store: What it reads.
        tracker: Knows jobs, and what time it is.
    """

    def __init__(self, store: Store, tracker: Tracker) -> None:
        self._store = store
        self._tracker = tracker

    def status(self, project_key: int, place: Place, job_id: str) -> JobStatus:
        """A job and its stages."""
        with self._store.reading() as connection:
            tracked = self._tracker.tracked(connection, project_key, job_id)
            stopping = related.stops_asked_of(connection, project_key, [job_id])
        return status_of(place, tracked, is_stopping=bool(stopping))

    def status_and_metrics(self, project_key: int, place: Place, job_id: str) -> StatusAndMetrics:
        """A job, its stages and its figures."""
        with self._store.reading() as connection:
            tracked = self._tracker.tracked(connection, project_key, job_id)
            stopping = related.stops_asked_of(connection, project_key, [job_id])
            measures = related.measures_of(connection, tracked.job.job_key, tracked.job.attempt)
        return status_and_metrics(place, tracked, sums(measures), is_stopping=bool(stopping))

    def exceptions(self, project_key: int, job_id: str) -> Exceptions:
        """What went wrong in a job."""
        with self._store.reading() as connection:
            tracked = self._tracker.tracked(connection, project_key, job_id)
            key, attempt = tracked.job.job_key, tracked.job.attempt
            errors = related.errors_of(connection, key, attempt, MOST_ERRORS)
        return exceptions_answer(tracked, errors)

    def overview(self, project_key: int, place: Place, limit: int) -> tuple[list[Overview], bool]:
        """The newest jobs, the newest first, and whether there are more.

        Args:
            project_key: Whose.
            place: Where they are.
            limit: How many at most.
        """
        with self._store.reading() as connection:
            found = reading.newest_jobs(connection, project_key, limit=limit + 1)
            rows = found[:limit]
            to_come = [row.job_id for row in rows if row.ended_at_us is None]
            stopping = related.stops_asked_of(connection, project_key, to_come)
        now_us = self._tracker.now_us
        jobs = [
            overview_of(place, Tracked(job=row, now_us=now_us), is_stopping=row.job_id in stopping)
            for row in rows
        ]
        return jobs, len(found) > limit
