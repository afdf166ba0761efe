"""The page of the tables that can be exported, from their columns. Run through ``generate.py``."""

from __future__ import annotations

from fiveobs.monitor.exporting.columns import Column
from fiveobs.monitor.exporting.results import RESULTS
from fiveobs.monitor.exporting.table import Table
from fiveobs.monitor.exporting.tables import TABLES, UNEXPORTED
from fiveobs.monitor.exporting.walking import JOB, KIND, MOST_ROWS, PERIOD, STATUS

__all__ = ["page"]

_HEAD = f"""# Exported tables

<!-- Made by docs/reference/generate.py from fiveobs/monitor/exporting; change it there. -->

What [`fiveobs export`](cli.md#fiveobs-export), `client.export` and
`GET …/export/{{table}}` ([HTTP API](http-api.md#export-a-table)) write. How to:
[export and report](../howto/export-and-report.md).

An export is of one project. It has what the token may see anyway, and no secrets.

## Formats

| | CSV | JSON Lines | Parquet |
|---|---|---|---|
| what it is | RFC 4180, UTF-8, names first | a JSON object on each line | Apache Parquet, zstd |
| not known | nothing between the commas | `null` | null |
| empty text | `""` | `""` | empty |
| text | in quotes where it needs them | string | string |
| integer, number | digits, with a point | number | int64, float64 |
| boolean | `true`, `false` | `true`, `false` | boolean |
| time | RFC 3339, UTC, microseconds | the same | timestamp, microseconds, UTC |
| JSON | as text | as it is | as text |

A number that is not finite is written as not known in CSV and JSON Lines.

In CSV, a text that a spreadsheet would take for a formula (it begins with `=`, `+`, `-`, `@`, a tab
or a line break) gets a `'` before it, and so does one that begins with `'` and then one of these.
To have the text back, take one `'` off where `'` and one of these follow. `formulas=raw`
(`--raw-formulas`) leaves texts as they are.

## Consistency

Rows are read {MOST_ROWS:,} at a time in the order of keys that do not change, each time in a short
read of its own that sees one moment of the store. So an export of any length takes the same memory,
keeps no transaction open, and does not hold up ingest. What follows from that:

- No row is in it twice. What is there from the beginning to the end of an export is in it.
- A row is as it was when it was read: the last ones are from a later moment than the first ones.
- Without `toTime`, tables with a period end at the moment at which the export began.
- What comes in late while an export runs, with a time that the export has passed, may be left out;
  and a job whose status changes meanwhile may or may not be chosen by it.

An answer that is whole ends as HTTP/1.1 says. Where something fails in the middle, the connection
is cut instead, which every client reports: `curl` ends with 18, `fiveobs export` with 1 and without
the file, `client.export` raises `UnreachableError`. A Parquet file that is not whole cannot be read
at all. A client that takes nothing for five minutes is cut off.

## Choosing rows

| | Flag | Parameter | |
|---|---|---|---|
| period | `--since`, `--until` | `fromTime`, `toTime` | from then on, and before |
| kind | `--workflow`, `--service` | `jobName`, `service` | of jobs of this name, of one service |
| status | `--status` | `status` | of jobs in this status |
| job | `--job` | `jobId` | of this job |

Which time the period is about, and what else a table can be chosen by, stands beside it.

## Results of analyses

The tables from `{RESULTS[0].name}` on are what the [analytics](analytics/README.md) conclude when
the export is made: the same numbers under the same names as the API answers, those of a part with
its name before them. Each row names the kind of job, by `workflow_id` and `service`. Without
`jobName` all kinds of the project are gone through, one after the other, so that the past of one is
all that is held; a kind of which nothing ran in the period has no rows. Many runs of many kinds
take a while: some seconds for each 100,000 runs, in which the file does not grow. `fiveobs export`
and `client.export` give up when nothing has come for ten minutes: ask for one kind then.
"""
_LEFT_OUT = """
## What is never exported

Of the store's tables and columns:

| | Why |
|---|---|
"""
_WORDS = {PERIOD: "period", KIND: "kind", STATUS: "status", JOB: "job"}


def page() -> str:
    """The whole page."""
    parts = [_HEAD, "\n## Tables\n\n| Table | A row is | Chosen by |\n|---|---|---|\n"]
    for table in TABLES.values():
        first, _, _ = table.doc.partition(". ")
        chosen = ", ".join(_WORDS[each] for each in table.filters) or "nothing"
        parts.append(f"| [`{table.name}`](#{table.name}) | {_row(first)} | {chosen} |\n")
    parts.extend(map(_table, TABLES.values()))
    left_out = "".join(f"| `{name}` | {why} |\n" for name, why in UNEXPORTED.items())
    return "".join(parts) + _LEFT_OUT + left_out


def _row(sentence: str) -> str:
    return (sentence[:1].lower() + sentence[1:]).rstrip(".")


def _table(table: Table) -> str:
    notes = [table.doc]
    if table.period:
        notes.append(f"Its period is about {table.period}.")
    if table.role != "viewer":
        notes.append(f"For the role {table.role}.")
    head = "| Column | Type | |\n|---|---|---|\n"
    rows = "".join(map(_column, table.columns))
    return f"\n### `{table.name}`\n\n{' '.join(notes)}\n\n{head}{rows}"


def _column(column: Column) -> str:
    kind = "JSON" if column.kind == "json" else column.kind
    return f"| `{column.name}` | {kind} | {column.doc} |\n"
