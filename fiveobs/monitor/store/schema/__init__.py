"""The tables. Only the monitor opens them; workers never do.

Times are integers: microseconds since 1970, UTC (``*_at_us``). Ids that others know (``job_id``,
``worker_id``) are text; keys that only the store knows (``job_key``) are integers. ``event_key``
grows with each event taken in, in the order of commits, so it is also the place in a stream:
whoever takes events in holds the row of ``sequences`` that keys come from until the commit.
"""

from __future__ import annotations

from fiveobs.monitor.store.schema._access import audit, tokens
from fiveobs.monitor.store.schema._base import metadata, projects, sequences
from fiveobs.monitor.store.schema._coordinated import entities, positions
from fiveobs.monitor.store.schema._kept import aggregates, keeps, series, trimmed
from fiveobs.monitor.store.schema._ruled import (
    expectations,
    firings,
    rule_progress,
    rules,
    sightings,
)
from fiveobs.monitor.store.schema._said import (
    conditions,
    dependencies,
    errors,
    events,
    measures,
    resources,
    unreadable,
)
from fiveobs.monitor.store.schema._subscribed import deliveries, subscriptions, told
from fiveobs.monitor.store.schema._work import attempts, jobs, kinds, samples, stages, workers

__all__ = [
    "aggregates",
    "attempts",
    "audit",
    "conditions",
    "deliveries",
    "dependencies",
    "entities",
    "errors",
    "events",
    "expectations",
    "firings",
    "jobs",
    "keeps",
    "kinds",
    "measures",
    "metadata",
    "positions",
    "projects",
    "resources",
    "rule_progress",
    "rules",
    "samples",
    "sequences",
    "series",
    "sightings",
    "stages",
    "subscriptions",
    "tokens",
    "told",
    "trimmed",
    "unreadable",
    "workers",
]
