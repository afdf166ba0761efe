"""``fiveobs token`` and the errors of ``fiveobs serve``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import insert

from fiveobs.cli import main
from fiveobs.monitor.access import Access, create_first_token
from fiveobs.monitor.settings import VARIABLES, MonitorSettings, load_settings
from fiveobs.monitor.store.engine import default_url, open_store
from fiveobs.monitor.store.schema import projects
from tests.support.ingesting import rows

ROOT = Path(__file__).resolve().parents[3]


def token(capsys, *arguments: str) -> tuple[int, str, str]:
    code = main(["token", *arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_a_token_is_made_listed_and_revoked(capsys, fiveobs_home) -> None:
    """What is printed lets in until it is revoked; the list never shows it."""
    scope = ("--tenant", "a", "--project", "p", "--expires", "30d")
    code, out, _ = token(capsys, "create", "--name", "ci", "--role", "operator", *scope)
    assert code == 0
    made = out.strip()
    store = open_store(default_url(fiveobs_home))
    found = Access(store).find(made)
    assert found is not None
    assert (found.role, found.tenant_id, found.project_id) == ("operator", "a", "p")
    code, out, _ = token(capsys, "list", "--json")
    (listed,) = json.loads(out)
    assert listed["state"] == "good"
    assert listed["expiresAt"] > listed["createdAt"]
    code, out, _ = token(capsys, "list")
    assert made.split("_", 2)[2] not in out
    assert found.token_id in out
    assert token(capsys, "revoke", found.token_id)[0] == 0
    assert Access(store).find(made) is None
    assert token(capsys, "revoke", found.token_id)[0] == 1
    assert json.loads(token(capsys, "list", "--json")[1])[0]["state"] == "revoked"
    store.close()


def test_the_audit_trail_has_who_made_and_revoked_a_token(
    capsys, fiveobs_home, monkeypatch
) -> None:
    """With what it was good for; that of a project is among what was done in that project."""
    monkeypatch.setenv("LOGNAME", "alice")
    store = open_store(default_url(fiveobs_home))
    with store.writing() as connection:
        project = insert(projects).values(tenant_id="a", project_id="p", created_at_us=1)
        project_key = connection.execute(project).inserted_primary_key[0]
    wide = json.loads(token(capsys, "create", "--name", "x", "--role", "admin", "--json")[1])
    scope = ("--tenant", "a", "--project", "p")
    narrow = json.loads(token(capsys, "create", "--name", "y", *scope, "--json")[1])
    token(capsys, "revoke", wide["id"])
    token(capsys, "revoke", wide["id"])
    columns = ("project_key", "actor", "action", "target", "outcome")
    assert rows(store, "audit", *columns) == [
        (None, "alice at a terminal", "token.create", wide["id"], "done"),
        (project_key, "alice at a terminal", "token.create", narrow["id"], "done"),
        (None, "alice at a terminal", "token.revoke", wide["id"], "done"),
    ]
    made, *_ = rows(store, "audit", "details")
    assert (made["name"], made["role"], made["tenantId"]) == ("x", "admin", None)
    assert wide["token"].split("_", 2)[2] not in json.dumps(rows(store, "audit", "details"))
    store.close()


def test_a_whole_token_is_revoked_and_never_repeated(capsys, fiveobs_home) -> None:
    """Who has only the token can end it; neither success nor failure prints its secret."""
    made = token(capsys, "create", "--name", "x")[1].strip()
    code, out, err = token(capsys, "revoke", made)
    assert code == 0
    again, more_out, more_err = token(capsys, "revoke", made)
    assert again == 1
    _, odd_out, odd_err = token(capsys, "revoke", made.removeprefix("fiveobs_"))
    said = out + err + more_out + more_err + odd_out + odd_err
    assert made.split("_")[1] in out
    assert made.split("_", 2)[2] not in said


def test_revoking_the_first_token_removes_its_file(capsys, fiveobs_home) -> None:
    """What lets nobody in any more is not kept."""
    store = open_store(default_url(fiveobs_home))
    first = create_first_token(store)
    store.close()
    assert first is not None
    file = fiveobs_home / "monitor" / "token"
    file.write_text(first.token)
    other = json.loads(token(capsys, "create", "--name", "x", "--json")[1])
    token(capsys, "revoke", other["id"])
    assert file.exists()
    token(capsys, "revoke", first.token_id)
    assert not file.exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--name", "x", "--expires", "soon"), "--expires 'soon'"),
        (("--name", "x", "--expires", "2001-01-01"), "expires"),
        (("--name", "x", "--project", "p"), "tenant"),
        (("--name", " "), "name"),
        (("--name", "x", "--role", "root"), "viewer"),
        ((), "--name"),
        (("--name", "x", "--store-url", "mysql://u:secret@h/d"), "sqlite:///PATH"),
    ],
)
def test_what_cannot_be_used_is_named(capsys, arguments: tuple[str, ...], named: str) -> None:
    """Exit code 2, the value and what would be valid, and no password."""
    code, _out, err = token(capsys, "create", *arguments)
    assert code == 2
    assert named in err
    assert "secret" not in err


@pytest.mark.parametrize("command", [["serve"], ["token", "list"]])
@pytest.mark.parametrize("missing", ["sqlalchemy", "alembic"])
def test_a_missing_extra_says_what_to_install(command: list[str], missing: str) -> None:
    """Without a package of the monitor's, the error is one line with the remedy."""
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"from fiveobs.cli import main; sys.exit(main({command!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "pip install 'fiveobs[monitor]'" in done.stderr
    assert missing in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--port", "99999"), "0 to 65535"),
        (("--host", "no host"), "FIVEOBS_MONITOR_HOST|--host"),
        (("--store-url", "sqlite://"), "SQLite needs a file"),
        (
            ("--store-url", "postgresql://u:secret@127.0.0.1:1/x?connect_timeout=2"),
            "cannot be opened",
        ),
    ],
)
def test_serve_refuses_what_cannot_be_used(capsys, arguments: tuple[str, ...], named: str) -> None:
    """Before anything is begun; a password is never shown."""
    code = main(["serve", *(() if "--port" in arguments else ("--port", "0")), *arguments])
    printed = capsys.readouterr()
    assert code == 2
    assert re.search(named, printed.err)
    assert "secret" not in printed.err


# --- settings ----------------------------------------------------------------------------------


def test_settings_come_from_the_environment_and_arguments_win(tmp_path: Path) -> None:
    """Each variable sets its field; what is given wins."""
    environ = {
        "FIVEOBS_HOME": str(tmp_path),
        "FIVEOBS_MONITOR_HOST": "0.0.0.0",
        "FIVEOBS_MONITOR_PORT": "1234",
        "FIVEOBS_WEBHOOK_ALLOWED_NETWORKS": "10.0.0.0/8, fd00::/8",
        "FIVEOBS_MONITOR_CORS_ORIGINS": "https://a.example,http://localhost:3000",
        "FIVEOBS_MONITOR_TRUSTED_PROXIES": "10.1.2.3,10.2.0.0/16",
        "FIVEOBS_MONITOR_MAX_REQUEST_BYTES": "2MiB",
        "FIVEOBS_MONITOR_MAX_INGEST_LAG": "2m",
    }
    found = load_settings(environ, port="4321")
    assert (found.home, found.host, found.port) == (tmp_path, "0.0.0.0", 4321)
    assert found.store_url == f"sqlite:///{tmp_path}/monitor/store.sqlite3"
    assert [str(each) for each in found.webhook_allowed_networks] == ["10.0.0.0/8", "fd00::/8"]
    assert found.cors_origins == ("https://a.example", "http://localhost:3000")
    assert found.trusted_proxies == ("10.1.2.3", "10.2.0.0/16")
    assert (found.max_request_bytes, found.max_ingest_lag_s) == (2 * 1024**2, 120.0)


def test_every_setting_that_cannot_be_used_is_named_at_once() -> None:
    """One error for all of them, with what would be valid."""
    environ = {
        "FIVEOBS_MONITOR_PORT": "x",
        "FIVEOBS_MONITOR_CORS_ORIGINS": "*",
        "FIVEOBS_WEBHOOK_ALLOWED_NETWORKS": "10.0.0.1/8",
    }
    with pytest.raises(Exception, match="FIVEOBS_MONITOR_PORT") as caught:
        load_settings(environ)
    assert all(name in str(caught.value) for name in environ)


def test_the_stores_address_is_not_shown() -> None:
    """It may hold a password."""
    assert "secret" not in repr(MonitorSettings(home=Path(), store_url="postgresql://u:secret@h/d"))


def test_every_setting_is_documented() -> None:
    """The how-to has each variable, with its default."""
    text = (ROOT / "docs" / "howto" / "run-the-monitor.md").read_text(encoding="utf-8")
    for variable in VARIABLES:
        assert f"`{variable.name}`" in text
