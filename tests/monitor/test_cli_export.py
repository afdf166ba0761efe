"""``fiveobs export`` and ``report`` against a real monitor."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from fiveobs.cli import main
from fiveobs.cli._page import page_of
from fiveobs.client import Client
from tests.support import reported_jobs
from tests.support.commands import Served, command, served, terminal
from tests.support.monitors import Monitor, monitor
from tests.support.reported_jobs import BEGIN, END, HOSTILE, MIDDLE, SERVICE, STEADY

ROOT = Path(__file__).resolve().parents[2]
HOWTO = ROOT / "docs" / "howto" / "export-and-report.md"
PERIOD = ["--since", MIDDLE.isoformat(), "--until", END.isoformat()]
#: Elements that fetch something, or run.
ACTIVE = {"script", "link", "img", "iframe", "object", "embed", "base", "form", "image", "audio"}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitor]:
    home = tmp_path_factory.mktemp("reported")
    reported_jobs.write(home)
    with monitor(home) as found:
        found.ingest()
        yield found


@pytest.fixture
def here(told: Monitor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Monitor:
    """The monitor, as this process's environment names it; files go to an empty folder."""
    for name, value in told.environment.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "files"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return told


# --- export --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("export")) as running:
        yield running


def test_an_export_goes_to_standard_output(found: Served) -> None:
    """The rows alone; how many they were is said beside them."""
    done = command(found, "export", "jobs", "--format", "jsonl", "--status", "completed")
    assert done.returncode == 0
    (row,) = map(json.loads, done.stdout.splitlines())
    assert (row["job_id"], row["status"]) == ("steps-completed", "Completed")
    assert done.stderr == f"1 rows, {len(done.stdout)} bytes\n"


def test_parquet_is_not_written_to_a_terminal(found: Served) -> None:
    """It is no text; a table that is text may be."""
    code, shown = terminal(found, "export", "jobs", "--format", "parquet")
    assert (code, "PAR1" in shown) == (2, False)
    assert "--output FILE" in shown
    code, shown = terminal(found, "export", "kinds")
    assert (code, "service,job_name" in shown) == (0, True)


def test_the_format_follows_the_name(here: Monitor) -> None:
    """Of the file, unless a flag says otherwise."""
    for name, beginning in (
        ("a.csv", b"job_id,"),
        ("a.JSONL", b'{"job_id"'),
        ("a.ndjson", b'{"job_id"'),
        ("a.parquet", b"PAR1"),
        ("a", b"job_id,"),
    ):
        assert main(["export", "jobs", "--output", name]) == 0
        assert Path(name).read_bytes().startswith(beginning)
    assert main(["export", "jobs", "-o", "b.csv", "--format", "parquet"]) == 0
    assert pyarrow.parquet.read_table("b.csv").num_rows == 240


def test_rows_are_chosen(here: Monitor, capsys: pytest.CaptureFixture[str]) -> None:
    """By time, kind, service, status and job."""
    for arguments, count in (
        (PERIOD, 120),
        (["--workflow", STEADY], 120),
        (["--workflow", STEADY, "--service", SERVICE, *PERIOD], 60),
        (["--workflow", STEADY, "--status", "FAILED", *PERIOD], 3),
        (["--job", "42"], 1),
        (["--since", "1h"], 0),
    ):
        assert main(["export", "jobs", *arguments]) == 0
        assert f"{count} rows, " in capsys.readouterr().err, arguments


def test_formulas_are_escaped_unless_they_are_wanted(here: Monitor) -> None:
    """What a job is called cannot become one in a spreadsheet."""
    with here.store.writing() as connection:
        connection.exec_driver_sql("UPDATE kinds SET service = '=cmd|x' WHERE kind_key = 1")
    try:
        assert main(["export", "kinds", "-o", "escaped.csv"]) == 0
        assert main(["export", "kinds", "-o", "raw.csv", "--raw-formulas"]) == 0
    finally:
        with here.store.writing() as connection:
            change = "UPDATE kinds SET service = ? WHERE kind_key = 1"
            connection.exec_driver_sql(change, (SERVICE,))
    assert "\n'=cmd|x," in Path("escaped.csv").read_text()
    assert "\n=cmd|x," in Path("raw.csv").read_text()


def test_a_file_is_whole_or_not_there(
    here: Monitor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What breaks off leaves the file that was there before, and nothing beside it."""
    Path("jobs.csv").write_text("before")

    calls: list[int] = []

    def broken(self: Any, rows: Any) -> bytes:
        calls.append(len(rows))
        if len(calls) == 2:
            raise OSError("the disk is gone")
        return b"x"

    monkeypatch.setattr("fiveobs.monitor.exporting.formats.Csv.rows", broken)
    assert main(["export", "events", "-o", "jobs.csv"]) == 1
    assert "what has come is not whole" in capsys.readouterr().err
    assert Path("jobs.csv").read_text() == "before"
    assert [each.name for each in Path().iterdir()] == ["jobs.csv"]


def test_what_is_no_file_is_written_to_as_it_is(here: Monitor) -> None:
    """A pipe stays a pipe, and a link leads where it did."""
    os.mkfifo("pipe")
    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(Path("pipe").read_bytes)
        assert main(["export", "kinds", "--output", "pipe"]) == 0
        assert reading.result(20).startswith(b"service,job_name")
    assert Path("pipe").is_fifo()
    Path("link").symlink_to("target")
    assert main(["export", "kinds", "--output", "link"]) == 0
    assert Path("link").is_symlink()
    assert Path("target").read_bytes().startswith(b"service,job_name")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["export", "nothing"], 1, "valid are jobs, attempts"),
        (["export", "jobs", "--status", "busy"], 2, "'busy' is none; use running"),
        (["export", "jobs", "--format", "xml"], 2, "'xml' is none; use csv, jsonl, parquet"),
        (["export", "jobs", "--until", "soon"], 2, "--until 'soon' is no time"),
        (["export", "jobs", "--service", "x"], 1, "jobName"),
        (["export", "jobs", "-o", "no/such/folder.csv"], 1, "No such file"),
        (["export", "jobs", "--url", "http://127.0.0.1:9"], 1, "fiveobs serve"),
        (["report", "--period", "long"], 2, "--period 'long' is no time"),
        (["report", "--period", "1d", "--since", "2d"], 2, "one of them is enough"),
        (["report", "--format", "pdf"], 2, "'pdf' is none; use html, json"),
        (["report", "--since", "1d", "--until", "2d"], 1, "times up to"),
    ],
)
def test_what_cannot_be_done_is_said(
    here: Monitor,
    arguments: list[str],
    code: int,
    text: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The message names the value and what would be valid; nothing is left behind."""
    assert main(arguments) == code
    assert text in capsys.readouterr().err
    assert list(Path().iterdir()) == []


def test_the_commands_of_the_howto_do_what_it_says(here: Monitor) -> None:
    """Each of them ends well, and the files that it names are there."""
    commands = re.findall(r"^\$ fiveobs (.*)$", HOWTO.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) >= 7
    for each in commands:
        arguments = shlex.split(each)
        assert main(arguments) == 0, each
        if "--output" in arguments:
            assert Path(arguments[arguments.index("--output") + 1]).is_file()


# --- report --------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a browser makes of a page, as far as it matters here."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.ids: list[str] = []
        #: The exact number and what is shown, for each number.
        self.numbers: list[tuple[float, str]] = []
        self.text = ""
        self._value: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag == "data":
            self._value = dict(attrs)["value"]

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._value is not None:
            self.numbers.append((json.loads(self._value), data))
            self._value = None


def numbers_of(value: Any) -> set[float]:
    """Every number of a JSON document."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return set().union(*map(numbers_of, inner))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {value} if is_number else set()


@pytest.fixture
def page(here: Monitor) -> str:
    assert main(["report", *PERIOD, "--output", "report.html"]) == 0
    return Path("report.html").read_text(encoding="utf-8")


@pytest.fixture
def as_json(here: Monitor) -> Any:
    assert main(["report", *PERIOD, "--output", "report.json"]) == 0
    return json.loads(Path("report.json").read_bytes())


def test_a_page_needs_nothing_beside_itself(page: str) -> None:
    """It holds nothing that fetches or runs, and no reference leads out of it."""
    found = Page(page)
    assert not ACTIVE & found.elements.keys()
    assert [name for name, _ in found.attributes if name.startswith("on")] == []
    leading = [value for name, value in found.attributes if name in ("src", "href", "xlink:href")]
    leading += re.findall(r"url\(([^)]*)\)", page)
    assert leading
    assert [each for each in leading if not each.startswith("#")] == []
    assert "@import" not in page
    assert "default-src 'none'" in page
    assert len(found.ids) == len(set(found.ids))
    assert {each.removeprefix("#") for each in leading} <= set(found.ids)


def test_what_jobs_say_is_shown_and_does_nothing(page: str) -> None:
    """Names, errors and messages are text, whatever they look like."""
    found = Page(page)
    for text in (HOSTILE, SERVICE, "<i>Scale</i>", "<b>New</b>Error", "no <img src=//evil.invalid"):
        assert text in found.text, text
        assert text not in page, text
    assert found.elements["i"] == found.elements["b"] == found.elements["script"] == 0


def test_the_numbers_of_the_page_are_those_of_the_json(page: str, as_json: Any) -> None:
    """All of them, and no others; each is shown as what it is."""
    found = Page(page)
    exact = numbers_of(as_json) - {as_json["kindsLeftOut"]}
    assert {value for value, _ in found.numbers} == exact | {0}
    for value, shown in found.numbers:
        if shown.endswith("%"):
            assert float(shown[:-1]) == pytest.approx(100 * value, abs=0.05)
        elif shown.endswith("points"):
            assert float(shown[1:-7]) == pytest.approx(100 * abs(value), abs=0.05)
        elif re.fullmatch(r"[\d,]+", shown):
            assert int(shown.replace(",", "")) == value
        elif re.fullmatch(r"\d+\.\d s", shown):
            assert float(shown[:-2]) == pytest.approx(value, abs=0.05)


def test_a_page_has_the_plots_of_its_trends(page: str) -> None:
    """Two of each kind of job and one of all, in the page's own colours and type."""
    plots = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(plots) == 5
    for each in plots:
        colours = set(re.findall(r"(?:fill|stroke): ([^;\"]*)", each))
        assert all(colour == "none" or colour.startswith("var(--") for colour in colours), colours
        assert "font-family" not in each
    assert re.findall(r">(\d\d Jan)<", plots[0]) == [f"{day} Jan" for day in range(10, 17)]


def test_the_same_report_makes_the_same_page(here: Monitor) -> None:
    """No times of making, no ids by chance."""
    with Client(here.url, here.token) as client:
        report = client.report(from_time=MIDDLE, to_time=END)
    assert page_of(report) == page_of(report)


def test_a_report_without_runs_says_so(here: Monitor) -> None:
    """A period in which nothing ran has a page, too, and one with nothing before it."""
    arguments = ["--since", "1h", "--output", "none.html"]
    assert main(["report", *arguments]) == 0
    assert "No job that was first heard of in this period" in Path("none.html").read_text()
    first = ["--since", BEGIN.isoformat(), "--until", MIDDLE.isoformat()]
    assert main(["report", *first, "-o", "first.html"]) == 0
    assert Page(Path("first.html").read_text()).elements["svg"] == 5


def test_a_report_of_a_kind_names_it(here: Monitor) -> None:
    """At the top; nothing of others is in it."""
    arguments = ["--workflow", STEADY, "--service", SERVICE, *PERIOD, "-o", "one.html"]
    assert main(["report", *arguments]) == 0
    found = Page(Path("one.html").read_text())
    assert f"Only {STEADY} of {SERVICE}" in " ".join(found.text.split())
    assert HOSTILE not in found.text
    assert found.elements["article"] == 1


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_a_page_without_the_extra_says_what_to_install(here: Monitor, missing: str) -> None:
    """And JSON needs neither."""
    program = f"import sys; sys.modules[{missing!r}] = None\n"
    program += "from fiveobs.cli import main\nsys.exit(main(sys.argv[1:]))"
    run = [sys.executable, "-c", program, "report"]
    options: Any = {"capture_output": True, "text": True, "timeout": 60}
    done = subprocess.run(run, check=False, **options)
    assert done.returncode == 2
    assert f"'fiveobs report' needs {missing}: pip install 'fiveobs[report]'" in done.stderr
    done = subprocess.run([*run, "--format", "json"], check=False, **options)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["figures"]["runs"] == 0


def test_a_page_is_text_on_standard_output(
    here: Monitor, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Without ``--output``, and in UTF-8 whatever the terminal has."""
    assert main(["report", *PERIOD]) == 0
    written = capfdbinary.readouterr().out
    assert io.TextIOWrapper(io.BytesIO(written), "utf-8").read().startswith("<!doctype html>")
