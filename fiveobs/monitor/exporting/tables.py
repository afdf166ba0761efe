"""Every table that can be exported, by name, and what of the store is not."""

from __future__ import annotations

from collections.abc import Mapping

from fiveobs.monitor.exporting import kept, others, ruled, said, work
from fiveobs.monitor.exporting.results import RESULTS
from fiveobs.monitor.exporting.table import Table

__all__ = ["TABLES", "UNEXPORTED"]

#: In the order of the documentation.
TABLES: Mapping[str, Table] = {
    each.name: each
    for each in (
        *(work.JOBS, work.ATTEMPTS, work.STAGES),
        *(said.EVENTS, said.ERRORS, said.MEASURES),
        *(said.RESOURCES, said.DEPENDENCIES, said.CONDITIONS),
        *(work.KINDS, work.WORKERS, work.SAMPLES, said.WORKER_EVENTS),
        *(others.SUBSCRIPTIONS, others.DELIVERIES, others.AUDIT),
        *(ruled.RULES, ruled.FIRINGS, ruled.EXPECTATIONS),
        *(kept.STATES, kept.AGGREGATES),
        *RESULTS,
    )
}

#: Tables and columns of the store that no export has, and why.
UNEXPORTED: Mapping[str, str] = {
    "keeps": "settings: `GET retention` has what is in force",
    "positions": "the monitor's own counting",
    "projects": "an export is of one project",
    "rule_progress": "the monitor's own place",
    "sequences": "the monitor's own counting",
    "series": "what `aggregates` are of is in their rows",
    "sightings": "the monitor's own memory of what rules await",
    "told": "the monitor's own memory of what it last sent",
    "tokens": "secret",
    "trimmed": "the monitor's own place",
    "unreadable": "damaged lines, in which the redactor cannot have found what is secret",
    "rules.definition": "its webhooks have secrets",
    "rules.secret": "secret",
    "entities.tried_version": "the monitor's own",
    "subscriptions.authentication": "secret",
    "subscriptions.secret": "secret",
    "subscriptions.token_id": "who made it is in `created_by`",
    "subscriptions.event_key": "the monitor's own place",
    "attempts.running_at_us": "the monitor's own; the status follows from it",
    "attempts.paused_at_us": "likewise",
    "attempts.lost_at_us": "likewise",
    "attempts.percent_at_us": "likewise",
    "workers.segment": "the monitor's own place",
    "workers.offset_bytes": "likewise",
    "workers.latest_at_us": "likewise",
}
