"""The route of reports: how the jobs of a period went, as JSON."""

from __future__ import annotations

import time

from fiveobs.monitor.api.asked import in_order
from fiveobs.monitor.api.dependencies import Scope, TheStore, analysis_turn
from fiveobs.monitor.api.exporting import From, JobName, Service, To, kind_keys
from fiveobs.monitor.api.problems import invalid
from fiveobs.monitor.api.routers import make_router
from fiveobs.monitor.report.making import DAY_S, Asked, make_report
from fiveobs.monitor.report.models import ReportAnswer
from fiveobs.monitor.tracking.human import US, as_time

__all__ = ["get_report", "router"]

_DEFAULT_US = 7 * DAY_S * US
#: Times that have a date, the period before included.
_FIRST_US, _MOST_US = 0, 50 * 366 * DAY_S * US

router = make_router("Export and report", needs=[analysis_turn])


@router.get("/report", summary="How the jobs of a period went")
def get_report(
    *,
    scope: Scope,
    store: TheStore,
    job_name: JobName = None,
    service: Service = None,
    from_time: From = None,
    to_time: To = None,
) -> ReportAnswer:
    """Success rates, durations, slowest steps, failures and trends, beside the period before.

    Of jobs that were first heard of in the period; without `fromTime` it is seven days long.
    """
    kind_keys(store, scope, job_name, service)
    to_us = time.time_ns() // 1_000 if to_time is None else to_time
    from_us = to_us - _DEFAULT_US if from_time is None else from_time
    in_order("query", from_us, to_us)
    if from_us < _FIRST_US or not 0 < to_us - from_us <= _MOST_US:
        valid = "valid are times since 1970, before toTime and at most 50 years before it"
        raise invalid("query", "fromTime", as_time(from_us), valid)
    return make_report(
        store,
        Asked(
            project_key=scope.project_key,
            tenant_id=scope.tenant_id,
            project_id=scope.project_id,
            from_us=from_us,
            to_us=to_us,
            job_name=job_name,
            service=service,
        ),
    )
