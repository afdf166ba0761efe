"""The application: every router, and what stands around them.

A request passes `Guard` (figures, headers, our own failures), CORS where it is wanted, the limits
of size, and `Authentication`; then it reaches its route, which says what role it needs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import anyio
from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from fiveobs._version import __version__
from fiveobs.monitor.access import Access
from fiveobs.monitor.api import (
    analytics,
    control,
    document,
    enhanced,
    exporting,
    health,
    live,
    openapi,
    problems,
    refusing,
    report,
    retention,
    rules,
    state,
    streamed,
    subscribed,
    subscriptions,
    tracking,
)
from fiveobs.monitor.api.access import Authentication, FailureLimit
from fiveobs.monitor.api.guarding import BodyLimit, Guard, HeadLimits
from fiveobs.monitor.figures import Figures
from fiveobs.monitor.services import Services
from fiveobs.monitor.settings import MonitorSettings
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.watching import watch_store

__all__ = ["Lifespan", "create_app"]

#: What a router's module may have as ``lifespan``: entered when the application starts.
Lifespan: TypeAlias = Callable[[FastAPI], AbstractAsyncContextManager[Any]]

_ROUTERS: tuple[APIRouter, ...] = (
    tracking.router,
    streamed.router,
    enhanced.router,
    analytics.router,
    exporting.router,
    report.router,
    live.router,
    subscriptions.router,
    subscribed.router,
    rules.router,
    control.router,
    retention.router,
    state.router,
    health.router,
    openapi.router,
)
#: Each has its rows in memory and a core to itself; others wait.
_ANALYSES_AT_ONCE = 2
_LIFESPANS: tuple[Lifespan, ...] = (live.lifespan, state.lifespan)


def create_app(
    store: Store, settings: MonitorSettings | None = None, services: Services | None = None
) -> FastAPI:
    """Make the application.

    Args:
        store: What it answers from.
        settings: How it is set up; ``None`` means the defaults.
        services: What else runs in the process; ``None`` means nothing does.
    """
    settings = settings or MonitorSettings(home=Path(), store_url="")
    figures = Figures() if services is None else services.figures
    access = Access(store) if services is None else services.access
    watch_store(figures, store)
    app = FastAPI(
        routes=[route for router in _ROUTERS for route in router.routes],
        title="fiveobs",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # It would answer with a redirect to whatever the Host header says.
        redirect_slashes=False,
        lifespan=_lifespan,
        middleware=_middleware(settings, access, figures),
    )
    app.openapi = lambda: document.describe(app)  # type: ignore[method-assign]
    for name, value in (("store", store), ("settings", settings), ("services", services)):
        setattr(app.state, name, value)
    app.state.figures = figures
    app.state.analysis_turns = anyio.Semaphore(_ANALYSES_AT_ONCE)
    problems.install(app)
    refusing.install(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for each in _LIFESPANS:
            await stack.enter_async_context(each(app))
        yield


def _middleware(settings: MonitorSettings, access: Access, figures: Figures) -> list[Middleware]:
    """From the outside in."""
    limit = FailureLimit(settings.failures_per_minute)
    found = [
        Middleware(Guard, figures),
        Middleware(HeadLimits, settings.max_url_bytes, settings.max_header_bytes),
        Middleware(Authentication, access, limit, figures),
        Middleware(BodyLimit, settings.max_request_bytes),
    ]
    if settings.cors_origins:
        found.insert(1, _cors(settings.cors_origins))
    return found


def _cors(origins: tuple[str, ...]) -> Middleware:
    return Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=[
            *("Authorization", "Content-Type", "Last-Event-ID"),
            *("If-Match", "If-None-Match"),
        ],
        expose_headers=["Retry-After", "Refresh", "ETag"],
        max_age=600,
    )
