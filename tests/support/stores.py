"""Stores to test with: a file of SQLite's, or a database of a PostgreSQL that is started for it.

``tests/conftest.py`` makes the fixtures known to all tests: ``store`` and ``store_url`` run a test
once for each sort, ``sqlite_store`` where one is enough.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ci import in_ci
from tests.support.ports import free_port

__all__ = [
    "PostgreSQL",
    "open_sqlite",
    "postgresql",
    "postgresql_template",
    "sqlite_store",
    "store",
    "store_url",
]

_START_S = 30.0
#: Whom the server runs as where the tests are root's: it refuses to be root.
_USER = "postgres"
#: Durability is what a test of ours does not need: its server is never cut off.
_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": "100",
}


class PostgreSQL:
    """A server of our own, on a free port of the loopback interface.

    Args:
        programs: The folder with ``initdb`` and ``postgres``.
    """

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="fiveobs-postgresql-"))
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    @staticmethod
    def programs() -> Path | None:
        """Where PostgreSQL is installed, the newest one; ``None`` if it is not."""
        found = shutil.which("initdb")
        if found is not None and shutil.which("postgres") is not None:
            return Path(found).parent
        folders = Path("/usr/lib/postgresql").glob("*/bin")
        return max(folders, key=lambda path: int(path.parent.name), default=None)

    def start(self) -> None:
        """Make the files and wait until it answers."""
        from tests.support.workers import until

        data = self._folder / "data"
        if os.geteuid() == 0:
            shutil.chown(self._folder, _USER, _USER)
        options = ["-D", str(data), "-A", "trust", "-U", _USER, "-E", "UTF8", "--no-sync"]
        self._run("initdb", *options, "--locale=C")
        self._port = free_port()
        settings = _SETTINGS | {
            "port": str(self._port),
            "unix_socket_directories": str(self._folder),
        }
        arguments = [f"-c{name}={value}" for name, value in settings.items()]
        command = [*_as_user(), str(self._programs / "postgres"), "-D", str(data), *arguments]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder
            )
        until(self._answers, timeout_s=_START_S, what="an answer of PostgreSQL")

    def stop(self) -> None:
        """End it, and whoever is still connected, and remove its files."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(_START_S)
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, database: str = _USER) -> str:
        """A database of it, as ``FIVEOBS_STORE_URL`` names one."""
        return f"postgresql://{_USER}@127.0.0.1:{self._port}/{database}"

    def new_database(self, template: str = "template1") -> str:
        """Make a database, an empty one or a copy; return its URL."""
        import psycopg

        name = f"test_{os.getpid()}_{next(self._numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")  # type: ignore[arg-type]
        return self.url(name)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*_as_user(), str(self._programs / program), *arguments],
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{program} ended with {done.returncode}:\n{done.stderr}"

    def _answers(self) -> bool:
        import psycopg

        assert self._process is not None
        log = self._folder / "log"
        assert self._process.poll() is None, f"PostgreSQL ended:\n{log.read_text()}"
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(self.url(), connect_timeout=2).close()
            return True
        return False


def _as_user() -> list[str]:
    """What goes before a command so that it does not run as root, and ends when we do."""
    if os.geteuid() != 0:
        return []
    user = [f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups", "--pdeathsig=INT"]
    return ["setpriv", *user, "--"]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """Give a PostgreSQL that runs as long as the tests do; skip where there is none."""
    programs = PostgreSQL.programs()
    if programs is None:
        reason = "PostgreSQL is not installed (Debian and Ubuntu: apt install postgresql)"
        if in_ci():
            pytest.fail(reason)
        pytest.skip(reason)
    server = PostgreSQL(programs)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.peer)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of an empty store, of each sort in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.sqlite3'}"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.new_database()


@pytest.fixture(scope="session")
def postgresql_template(postgresql: PostgreSQL) -> str:
    """Give the name of a migrated, empty database to copy."""
    from fiveobs.monitor.store.engine import open_store

    url = postgresql.new_database()
    open_store(url).close()
    return url.rpartition("/")[2]


@functools.cache
def _sqlite_template() -> Path:
    """A migrated, empty store to copy: to migrate takes longer than most tests."""
    from fiveobs.monitor.store.engine import open_store

    folder = Path(tempfile.mkdtemp(prefix="fiveobs-sqlite-"))
    atexit.register(_remove, folder, os.getpid())
    path = folder / "store.sqlite3"
    open_store(f"sqlite:///{path}").close()
    return path


def _remove(folder: Path, of_pid: int) -> None:
    if os.getpid() == of_pid:  # not at the end of a child that was forked
        shutil.rmtree(folder, ignore_errors=True)


def open_sqlite(path: Path) -> Any:
    """The store of a file; an empty one with the present schema, if there is no such file."""
    from fiveobs.monitor.store.engine import open_store

    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_sqlite_template(), path)
    return open_store(f"sqlite:///{path}", migrate=False)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.peer)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Give an empty store with the present schema, of each sort in turn."""
    from fiveobs.monitor.store.engine import open_store

    if request.param == "sqlite":
        opened = open_sqlite(tmp_path / "store.sqlite3")
    else:
        server: PostgreSQL = request.getfixturevalue("postgresql")
        url = server.new_database(request.getfixturevalue("postgresql_template"))
        opened = open_store(url, migrate=False)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Any]:
    """Give an empty store of SQLite's."""
    opened = open_sqlite(tmp_path / "store.sqlite3")
    yield opened
    opened.close()
