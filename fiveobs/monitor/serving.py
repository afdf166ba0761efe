"""One process that is the monitor: takes events in, watches, sends webhooks, and answers.

Everything but the API runs in threads (`fiveobs.monitor.services`); the API runs in an event loop
in the main thread. SIGTERM and SIGINT end all of it in good order within a deadline: streams first,
because they have no end of their own, then requests, then the services.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import uvicorn

from fiveobs._report import report
from fiveobs._runtime import configure, shutdown
from fiveobs._version import __version__
from fiveobs.exceptions import ConfigError
from fiveobs.monitor.access import Access, NewToken, create_first_token
from fiveobs.monitor.api.app import create_app
from fiveobs.monitor.control import Control
from fiveobs.monitor.coordination.projector import Projector
from fiveobs.monitor.coordination.reconciler import Reconciler
from fiveobs.monitor.figures import Figures
from fiveobs.monitor.heads import PromptProtocol
from fiveobs.monitor.ingest.ingester import Ingester
from fiveobs.monitor.keeping import announced, served_alone, write_private
from fiveobs.monitor.processes import Processes
from fiveobs.monitor.reaper import Reaper
from fiveobs.monitor.retention.service import Retention
from fiveobs.monitor.rules.engine import RuleEngine
from fiveobs.monitor.services import Service, Services, TokenUse
from fiveobs.monitor.settings import MonitorSettings
from fiveobs.monitor.store.engine import Store, masked, opened
from fiveobs.monitor.store.reading import MONITOR_SERVICE
from fiveobs.monitor.stuck import StuckJobs
from fiveobs.monitor.watching import IngestWatch
from fiveobs.monitor.webhooks.deliverer import Deliverer
from fiveobs.monitor.webhooks.guard import Guard
from fiveobs.monitor.webhooks.sending import Sender

__all__ = ["make_services", "serve"]

_BACKLOG = 2_048
#: Of the time that a stop may take, as much is kept for the services, and for what it has recorded.
_SERVICES_SHARE, _OWN_SHARE = 0.3, 0.2


def serve(settings: MonitorSettings, *, say: Callable[[str], None] = print) -> int:
    """Be the monitor until told to stop.

    Args:
        settings: How it is set up.
        say: Told, all at once, what whoever starts it should know.

    Returns:
        The exit code: 0, or 1 if something did not end in time.

    Raises:
        ConfigError: It cannot listen there, or the store cannot be opened, or another monitor
            serves it.
    """
    # What it records itself (lost jobs) goes into a journal of its own, in the same home.
    configure(home=settings.home, service=MONITOR_SERVICE)
    with contextlib.ExitStack() as stack:
        stack.callback(shutdown, timeout_s=settings.stop_timeout_s * _OWN_SHARE)
        listener = stack.enter_context(contextlib.closing(_listen(settings)))
        stack.enter_context(served_alone(settings.store_url))
        store = stack.enter_context(contextlib.closing(opened(settings.store_url)))
        first = create_first_token(store)
        if first is not None and settings.is_homes_store:
            write_private(settings.token_file, first.token)
        services = make_services(store, settings)
        port = listener.getsockname()[1]
        stack.enter_context(announced(settings, f"http://{_netloc(_near(settings.host), port)}"))
        greet = partial(say, "\n".join(_greeting(settings, port, first)))
        server = _Server(store, settings, services, greet)
        services.start()
        try:
            server.run(sockets=[listener])
        finally:
            late = services.stop(settings.stop_timeout_s * _SERVICES_SHARE)
    for name in late:
        report("stop", f"{name} did not end in time")
    return 1 if late or not server.started else 0


def make_services(store: Store, settings: MonitorSettings) -> Services:
    """What runs beside the API, in the order in which it starts."""
    access, figures = Access(store), Figures()
    folder = settings.journal_folder

    def tell(cause: str, message: str) -> None:
        figures.count("fiveobs_monitor_failures_total", "What went wrong, by cause.", cause=cause)
        report(cause, message)

    watch = IngestWatch(store, folder)
    stuck, control = StuckJobs(store, folder), Control(store, settings.home)
    processes = Processes(folder)
    beside = stuck.step, control.settle
    reaper = Reaper(store, folder, report=tell, processes=processes, beside=beside)
    reconciler = Reconciler(store, settings.home, control)
    projector = Projector(store, report=tell, beside=(reconciler.step,))
    sender = Sender(Guard(settings.webhook_allowed_networks))
    deliverer = Deliverer(store, sender)
    engine = RuleEngine(store, sender, settled_s=lambda: watch.settled_s)
    retention = Retention(store, settings.retention, report=tell)
    retention.watch(figures)
    _watch_work(figures, reaper, deliverer, engine)
    services: list[Service] = [
        processes,
        _Named("ingest", Ingester(store, folder, report=tell).run),
        watch,
        _Named("reaper", reaper.run),
        projector,
        deliverer,
        engine,
        TokenUse(access),
        retention,
    ]
    return Services(
        services,
        access=access,
        figures=figures,
        lag_s=lambda: watch.lag_s,
        max_lag_s=settings.max_ingest_lag_s,
    )


def _watch_work(figures: Figures, reaper: Reaper, deliverer: Deliverer, engine: RuleEngine) -> None:
    figures.ask(
        "fiveobs_monitor_lost_jobs_total",
        "Jobs that this process found to be lost, by cause.",
        lambda: [({"cause": cause}, count) for cause, count in list(reaper.lost.items())],
        "counter",
    )
    figures.ask(
        "fiveobs_monitor_webhook_tries_total",
        "Deliveries that this process has tried, by outcome.",
        lambda: [({"outcome": name}, count) for name, count in list(deliverer.counts.items())],
        "counter",
    )
    figures.ask(
        "fiveobs_monitor_rule_actions_total",
        "Actions of rules that this process has tried or refused, by outcome.",
        lambda: [({"outcome": name}, count) for name, count in list(engine.counts.items())],
        "counter",
    )


class _Named:
    """Something with a ``run`` as a service.

    Args:
        name: What it is called.
        run: Works until told to stop.
    """

    def __init__(self, name: str, run: Callable[[threading.Event], None]) -> None:
        self.name = name
        self._run = run

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop."""
        self._run(stop)


# --- the server ----------------------------------------------------------------------------------


class _Server(uvicorn.Server):
    """Uvicorn, with streams that end when it does, and an exit code of our own.

    Args:
        store: What is answered from.
        settings: How it is set up.
        services: What runs beside it.
        started: Called when it listens.
    """

    def __init__(
        self,
        store: Store,
        settings: MonitorSettings,
        services: Services,
        started: Callable[[], None],
    ) -> None:
        self._app = create_app(store, settings, services)
        self._tell_started = started
        grace_s = settings.stop_timeout_s * (1 - _SERVICES_SHARE - _OWN_SHARE)
        super().__init__(
            uvicorn.Config(
                self._app,
                http=PromptProtocol,
                lifespan="on",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=True,
                forwarded_allow_ips=list(settings.trusted_proxies),
                timeout_graceful_shutdown=max(1, int(grace_s)),
                h11_max_incomplete_event_size=settings.max_url_bytes + settings.max_header_bytes,
                ws_max_size=settings.max_request_bytes,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say so."""
        await super().startup(sockets)
        if self.started:
            self._tell_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, which would be waited for, then the rest."""
        hub: Any = getattr(self._app.state, "hub", None)
        if hub is not None:
            hub.close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGINT and SIGTERM; unlike uvicorn's own, without raising them again after."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _listen(settings: MonitorSettings) -> socket.socket:
    """A socket bound to the address; taken before anything else is begun."""
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as exc:
        raise ConfigError(f"FIVEOBS_MONITOR_HOST: {settings.host!r} is no address: {exc}") from exc
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as exc:
        listener.close()
        raise ConfigError(_why_not(settings, exc)) from exc
    return listener


def _why_not(settings: MonitorSettings, exc: OSError) -> str:
    where = _netloc(settings.host, settings.port)
    if exc.errno == errno.EADDRINUSE:
        return (
            f"{where} is in use, perhaps by another monitor: choose another port with --port or"
            " FIVEOBS_MONITOR_PORT (0 takes any that is free)"
        )
    if exc.errno == errno.EACCES:
        return f"{where}: this user may not listen there: use a port from 1024 on"
    return f"{where} cannot be listened on: {exc.strerror or exc}"


# --- what whoever starts it is told --------------------------------------------------------------


def _greeting(settings: MonitorSettings, port: int, first: NewToken | None) -> Iterator[str]:
    url = f"http://{_netloc(settings.host, port)}"
    yield f"fiveobs monitor {__version__} listens on {url}"
    yield f"  API       {url}/docs"
    yield f"  journals  {settings.journal_folder}"
    yield f"  store     {masked(settings.store_url)}"
    if first is not None:
        yield f"  token     {first.token}"
        yield "            an admin's, for every tenant: it is shown this once. Try it:"
        path = "/api/default/default/execution/tracking/batch"
        yield f'            curl -H "Authorization: Bearer {first.token}" {url}{path}'
    if settings.is_homes_store and settings.token_file.exists():
        yield f"            'fiveobs jobs' on this machine finds both in {settings.url_file.parent}"


def _near(host: str) -> str:
    """The address at which this machine reaches what listens there."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104


def _netloc(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
