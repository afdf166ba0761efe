"""``fiveobs doctor``: settings, destinations, journal, and what became of every record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fiveobs._config import load_config
from fiveobs._ids import rfc3339
from fiveobs.cli import main
from fiveobs.cli._accounts import ALIVE, DEAD, FINISHED, account
from fiveobs.cli._advice import what_to_try
from fiveobs.journal.records import WANTS
from fiveobs.journal.writer import Journal, JournalSettings
from tests.support.base import HOST
from tests.support.forward import ForwardReceiver
from tests.support.journals import START_NS, append, line, write_cursor, write_segment
from tests.support.otlp import OtlpReceiver
from tests.support.ports import free_port
from tests.support.sentry import SentryReceiver
from tests.support.web import FluentHttpReceiver

ROOT = Path(__file__).resolve().parents[2]


def doctor(capsys, *arguments: str) -> tuple[int, dict]:
    code = main(["doctor", "--json", "--timeout", "3s", *arguments])
    answer = json.loads(capsys.readouterr().out)
    assert code == (0 if answer["ok"] else 1)
    return code, answer


def findings(answer: dict, area: str) -> list[str]:
    return [each["text"] for each in answer["findings"] if each["area"] == area]


def next_steps(answer: dict, area: str) -> str:
    return " ".join(
        step for each in answer["findings"] if each["area"] == area for step in each["next"]
    )


def use_logs(monkeypatch, receiver, protocol: str) -> None:
    monkeypatch.setenv("FLUENT_BIT_HOST", HOST)
    monkeypatch.setenv(
        "FLUENT_BIT_PORT", str(receiver if isinstance(receiver, int) else receiver.port)
    )
    monkeypatch.setenv("FLUENT_BIT_PROTOCOL", protocol)


# --- settings ---


def test_nothing_configured_is_well(capsys, fiveobs_home):
    """Without any destination there is no problem; each track says what to set."""
    code, answer = doctor(capsys)
    assert (code, answer["findings"]) == (0, [])
    assert "FLUENT_BIT_HOST" in answer["tracks"]["logs"]["to_configure"]
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in answer["tracks"]["traces"]["to_configure"]
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in answer["tracks"]["metrics"]["to_configure"]
    assert "SENTRY_DSN" in answer["tracks"]["errors"]["to_configure"]
    assert not fiveobs_home.exists()


def test_what_switches_a_track_off_is_named(capsys, monkeypatch):
    """A track that a variable switches off names that variable."""
    monkeypatch.setenv("FLUENT_BIT_HOST", HOST)
    monkeypatch.setenv("DISABLE_FLUENT_BIT_LOGGING", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{HOST}:1")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    _, answer = doctor(capsys)
    assert "DISABLE_FLUENT_BIT_LOGGING" in answer["tracks"]["logs"]["to_configure"]
    assert "OTEL_TRACES_EXPORTER" in answer["tracks"]["traces"]["to_configure"]


def test_a_setting_that_cannot_be_used_is_a_problem(capsys, monkeypatch):
    """What is wrong with a variable is said, with what would be valid."""
    monkeypatch.setenv("FIVEOBS_TRACE_SAMPLE_RATIO", "many")
    code, answer = doctor(capsys)
    assert code == 1
    (problem,) = findings(answer, "settings")
    assert "FIVEOBS_TRACE_SAMPLE_RATIO" in problem
    assert "many" in problem


# --- probes ---


def test_a_probe_reaches_every_destination(capsys, monkeypatch):
    """One log record, one span, one gauge and one Sentry event arrive and are acknowledged."""
    with ForwardReceiver() as forward, OtlpReceiver() as otlp, SentryReceiver() as sentry:
        use_logs(monkeypatch, forward, "forward")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", otlp.endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        monkeypatch.setenv("SENTRY_DSN", sentry.dsn)
        monkeypatch.setenv("WORKER_ID", "worker-1")
        code, answer = doctor(capsys)
        ((_, _, record),) = forward.records
        (span,), (metric,), (event,) = otlp.spans, otlp.metrics, sentry.events
    assert (code, answer["findings"]) == (0, [])
    assert all(answer["tracks"][track]["probe"]["taken"] for track in WANTS)
    assert (record["event_type"], record["worker_id"]) == ("probe", "worker-1")
    assert span["name"] == "fiveobs doctor"
    assert (metric["name"], metric["points"][0]["value"]) == ("fiveobs.probe", 1)
    assert (event["level"], event["message"]) == ("info", "fiveobs doctor probe")


def test_http_and_grpc_are_probed_as_configured(capsys, monkeypatch):
    """Fluent Bit's HTTP input and OTLP over gRPC are probed where they are what is set."""
    with FluentHttpReceiver() as http, OtlpReceiver() as otlp:
        use_logs(monkeypatch, http, "http")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", otlp.describe()["grpc_endpoint"])
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        code, answer = doctor(capsys)
        assert (code, answer["findings"]) == (0, [])
        assert [tag for tag, _, _ in http.records] == ["fiveobs"]
        assert (len(otlp.spans), len(otlp.metrics)) == (1, 1)
    assert answer["tracks"]["logs"]["set_by"] == (
        "FLUENT_BIT_HOST, FLUENT_BIT_PORT, FLUENT_BIT_PROTOCOL"
    )


def test_no_probe_opens_no_connection(capsys, monkeypatch):
    """``--no-probe`` looks at settings and journal only."""
    with ForwardReceiver() as forward:
        use_logs(monkeypatch, forward, "forward")
        code, answer = doctor(capsys, "--no-probe")
        assert forward.counts["connections"] == 0
    assert code == 0
    assert "probe" not in answer["tracks"]["logs"]


def test_a_refused_connection_asks_whether_anything_runs_there(capsys, monkeypatch):
    """Where nobody listens, the next step is to look whether the destination runs, by curl."""
    use_logs(monkeypatch, free_port(), "http")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{HOST}:{free_port()}")
    code, answer = doctor(capsys)
    assert code == 1
    assert "is Fluent Bit running" in next_steps(answer, "logs")
    assert "curl -i -X POST" in next_steps(answer, "logs")
    assert "9880" in next_steps(answer, "logs")
    assert "4317" in next_steps(answer, "traces")
    assert "8888/metrics" in next_steps(answer, "metrics")


def test_silence_is_given_up_at_the_timeout(capsys, monkeypatch):
    """A destination that accepts and never answers costs the timeout, not more."""
    with ForwardReceiver(mode="blackhole") as forward, OtlpReceiver(mode="blackhole") as otlp:
        use_logs(monkeypatch, forward, "forward")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", otlp.endpoint)
        started = time.monotonic()
        code, answer = doctor(capsys, "--timeout", "300ms")
        assert time.monotonic() - started < 10
    assert code == 1
    for track in ("logs", "traces", "metrics"):
        assert "firewall" in next_steps(answer, track)


def test_protocols_that_are_mixed_up_are_recognised(capsys, monkeypatch):
    """Forward spoken to an HTTP input, and gRPC to an HTTP port, lead to the setting to change."""
    with FluentHttpReceiver() as http, OtlpReceiver() as otlp:
        use_logs(monkeypatch, http, "forward")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", otlp.endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        _, answer = doctor(capsys)
    assert "FLUENT_BIT_PROTOCOL=http" in next_steps(answer, "logs")
    assert "OTEL_EXPORTER_OTLP_PROTOCOL" in next_steps(answer, "traces")


def test_a_refusal_leads_to_the_credentials(capsys, monkeypatch):
    """A 401 leads to the variable that holds the credentials, and shows no secret."""
    with (
        OtlpReceiver(mode="error", error_status=401) as otlp,
        SentryReceiver(mode="error", error_status=401, public_key="verysecret") as sentry,
    ):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", otlp.endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=verysecret")
        monkeypatch.setenv("SENTRY_DSN", sentry.dsn)
        _, answer = doctor(capsys)
    assert "OTEL_EXPORTER_OTLP_HEADERS" in next_steps(answer, "traces")
    assert "SENTRY_DSN" in next_steps(answer, "errors")
    assert "verysecret" not in json.dumps(answer)


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (
            "h:1 showed a certificate that is not trusted (x); check the CA file",
            "FLUENT_BIT_TLS_CA",
        ),
        ("h:1 could not be spoken to: OSError: 'h' is not a host name: x", "localhost"),
        (
            "the gRPC endpoint h:1 answered UNAVAILABLE; errors resolving h:1: [lookup error]",
            "localhost is the container itself",
        ),
        ("http://h answered 429 Too Many Requests", "quota"),
        ("http://h answered 404 Not Found", "http input"),
        ("something new", "logs of Fluent Bit"),
    ],
)
def test_each_kind_of_failure_has_a_next_step(error, step):
    """Whatever a sender says, there is something to try next."""
    config = load_config({"FLUENT_BIT_HOST": "h"}, {}, strict=False)
    assert step in " ".join(what_to_try(config, "logs", error))


# --- the journal ---


def test_a_home_that_cannot_be_written_is_a_problem(capsys, monkeypatch, tmp_path):
    """Where no journal can be kept, the doctor says what that means."""
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("FIVEOBS_HOME", str(file / "home"))
    code, answer = doctor(capsys)
    assert code == 1
    assert "cannot be written" in findings(answer, "journal")[0]


def test_torn_lines_are_a_warning(capsys, fiveobs_home):
    """Damage is counted and shown, and is no reason to fail."""
    write_segment(fiveobs_home, "a-1-1", 1, line(1), b'{"id":"x","seq":\n', line(2), line(3)[:40])
    code, answer = doctor(capsys)
    assert code == 0
    assert answer["journal"]["torn_lines"] == 2
    assert "2 lines are damaged" in findings(answer, "journal")[0]


def test_processes_are_told_apart(fiveobs_home):
    """A stem's process lives, is dead with work left, or is finished."""
    journal = Journal(fiveobs_home / "journal", "living", JournalSettings(), WANTS, lambda *_: None)
    for stem in ("dead-1-1", "finished-2-2"):
        write_segment(fiveobs_home, stem, 1, line(1))
    (fiveobs_home / "journal" / "dead-1-1.lock").touch()
    states = {each.stem.partition("-")[0]: each.state for each in account(fiveobs_home / "journal")}
    journal.close()
    assert states == {"living": ALIVE, "dead": DEAD, "finished": FINISHED}


# --- accounting ---


def sums(answer: dict, track: str) -> tuple[int, int, int, int]:
    values = answer["tracks"][track]
    return tuple(values[name] for name in ("accepted", "delivered", "pending", "dropped"))


def test_the_sums_are_those_of_a_real_journal(fiveobs_home, capsys):
    """What a journal's readers have delivered and dropped adds up with what is on disk."""
    settings = JournalSettings(segment_bytes=2000)
    journal = Journal(fiveobs_home / "journal", "m", settings, WANTS, lambda *_: None)
    reader = journal.reader("logs")
    journal.reader("metrics")
    for seq in range(1, 31):
        append(journal, line(seq, "metric" if seq % 3 == 0 else "log"))
    taken = 0
    while taken < 9:
        batch = reader.next_batch(3, 1 << 20)
        taken += len(batch.lines)
        dropped = int(taken == 3)
        reader.commit(batch.start, batch.end, delivered=len(batch.lines) - dropped, dropped=dropped)
    _, answer = doctor(capsys)
    journal.close()
    assert sums(answer, "events") == (30, 30, 0, 0)
    assert sums(answer, "logs") == (20, taken - 1, 20 - taken, 1)
    assert sums(answer, "metrics") == (10, 0, 10, 0)
    assert sums(answer, "errors") == (0, 0, 0, 0)
    assert all(each["adds_up"] for each in answer["tracks"].values())


def test_sums_that_do_not_add_up_are_a_problem(fiveobs_home, capsys):
    """A cursor that claims more or less than the lines before it is found out."""
    write_segment(fiveobs_home, "a-1-1", 1, line(1), line(2), line(3))
    write_cursor(fiveobs_home, "a-1-1", "logs", segment=2, delivered=2)
    code, answer = doctor(capsys)
    assert code == 1
    assert not answer["tracks"]["logs"]["adds_up"]
    assert "3 accepted, but 2 delivered" in findings(answer, "logs")[0]


def test_removed_segments_are_counted_by_the_cursor(fiveobs_home, capsys):
    """Where shipped segments were deleted, the cursor's sums stand for what was in them."""
    write_segment(fiveobs_home, "a-1-1", 3, line(201), line(202))
    write_cursor(fiveobs_home, "a-1-1", "logs", segment=4, delivered=202)
    code, answer = doctor(capsys)
    assert (code, answer["journal"]["removed_files"]) == (0, 2)
    assert sums(answer, "logs") == (202, 202, 0, 0)


def test_gaps_in_the_sequence_are_lost_lines(fiveobs_home, capsys):
    """Numbers that are missing count as dropped; lines that overtook each other do not."""
    order = [1, 3, 2, 6, 4, 5, 9, 10, 20]
    write_segment(fiveobs_home, "a-1-1", 1, *(line(seq, after_s=seq) for seq in order[:8]))
    write_segment(fiveobs_home, "a-1-1", 2, line(20, after_s=20), line(21, after_s=40))
    code, answer = doctor(capsys)
    assert code == 1
    assert sums(answer, "events") == (21, 10, 0, 11)
    assert "11 lines are missing" in findings(answer, "events")[0]


def test_a_line_in_flight_at_the_end_is_not_lost(fiveobs_home):
    """A number missed in the last moment may still be on its way, or was when the process died."""
    lines = [line(1), line(3, after_s=2), line(4, after_s=2.01)]
    write_segment(fiveobs_home, "a-1-1", 1, *lines)
    assert account(fiveobs_home / "journal")[0].tracks["events"].dropped == 0


def test_next_to_removed_segments_nothing_is_concluded(fiveobs_home):
    """Where neighbouring segments are gone, missing numbers may have been in them."""
    write_segment(fiveobs_home, "a-1-1", 2, line(100), line(102), line(103))
    write_segment(fiveobs_home, "a-1-1", 4, line(400), line(402), *map(line, range(403, 700)))
    write_segment(fiveobs_home, "a-1-1", 5, *map(line, range(710, 720)))
    (stem,) = account(fiveobs_home / "journal")
    assert stem.tracks["events"].dropped == 10


def test_records_that_wait_too_long_are_a_problem(fiveobs_home, capsys, monkeypatch):
    """What waits for minutes is reported with its age and who should ship it."""
    write_segment(fiveobs_home, "a-1-1", 1, line(1), line(2))
    write_cursor(fiveobs_home, "a-1-1", "logs", offset=len(line(1)), delivered=1)
    code, answer = doctor(capsys)
    assert code == 1
    assert answer["tracks"]["logs"]["oldest_pending"] == rfc3339(START_NS + 2 * 10**9)
    assert "FLUENT_BIT_HOST" in next_steps(answer, "logs")
    with ForwardReceiver() as forward:
        use_logs(monkeypatch, forward, "forward")
        _, answer = doctor(capsys)
    assert "no process is running" in next_steps(answer, "logs")


def test_records_that_have_just_been_written_may_wait(fiveobs_home, capsys):
    """A record that waits for the next delivery is no problem."""
    after_s = (time.time_ns() - START_NS) / 1e9
    write_segment(fiveobs_home, "a-1-1", 1, line(1, after_s=after_s))
    write_cursor(fiveobs_home, "a-1-1", "logs")
    code, answer = doctor(capsys)
    assert (code, sums(answer, "logs")) == (0, (1, 0, 1, 0))


def test_dropped_records_are_a_warning(fiveobs_home, capsys):
    """What was given up is said, with where the reason is; it does not fail the command."""
    write_segment(fiveobs_home, "a-1-1", 1, line(1))
    write_cursor(fiveobs_home, "a-1-1", "logs", segment=2, dropped=1)
    code, answer = doctor(capsys)
    assert code == 0
    assert "1 records were given up" in findings(answer, "logs")[0]
    assert "fiveobs.internal" in next_steps(answer, "logs")


# --- as a program ---


def test_it_runs_as_a_program(fiveobs_home):
    """``fiveobs doctor`` prints a page for people, and ends with 1 when there is a problem."""
    write_segment(fiveobs_home, "a-1-1", 1, line(1))
    env = {**os.environ, "FLUENT_BIT_HOST": HOST, "FLUENT_BIT_PORT": str(free_port())}
    done = subprocess.run(
        [sys.executable, "-m", "fiveobs", "doctor"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=env,
    )
    assert (done.returncode, done.stderr) == (1, "")
    for text in ("Journal", "Tracks", "Records", "adds up", "problem logs:", "nc -vz"):
        assert text in done.stdout
