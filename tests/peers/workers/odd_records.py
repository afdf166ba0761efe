"""Records that a log pipeline tends to choke on: prints how many it made, one of them large."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import Any

from fiveobs import get_logger, observe_job

#: 2**53 - 1: the largest integer that JavaScript tells from its neighbours.
LARGEST_EXACT = 9_007_199_254_740_991

TEXTS = (
    "",
    "größe 尺寸 размер",
    "👩‍👩‍👧‍👦 \U0001f1e9\U0001f1ea e\u0301",
    "right to left: \u202eabc\u202c",
    "line\nfeed\r\n\u2028\u2029\x85",
    "nul \x00, escape \x1b[31m, delete \x7f, not a character \uffff",
    "a lone surrogate \ud800, as of a file name: \udcff\udcfe",
    '"quotes", \\backslashes\\, {"json": [1]}',
    "%s {0} ${HOME} {{ }}",
)

VALUES: dict[str, Any] = {
    "bytes": b"\xff\xfe\x00 no UTF-8",
    "bytearray": bytearray(b"\x80\x81"),
    "nan": float("nan"),
    "infinite": float("-inf"),
    "tiny": 5e-324,
    "large": LARGEST_EXACT,
    "negative": -LARGEST_EXACT,
    "nothing": None,
    "when": datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC),
    "set": {1},
    "empty": [{}, [], "", ()],
    "": "an empty name",
    "a.b[0]/c d": "a name with dots",
    "größe\x00": "a name with more",
    "exception": ValueError("\udcff"),
    "object": object,
}


def nested(depth: int) -> Any:
    value: Any = "the bottom"
    for _ in range(depth):
        value = {"deeper": [value]}
    return value


def main() -> None:
    log = get_logger()
    for text in TEXTS:
        log.info(text, text=text, **{text: "its name"})
    with observe_job("größe \ud800", service="odd\x00", session_id="s\u2028") as job:
        for name, value in VALUES.items():
            job.log.warning("value", **{name: value})
        job.log.info("nested", value=nested(20))
        job.log.info("many", value={f"key {number}": number for number in range(1000)})
        for size in (1_000, 100_000, 3_000_000):
            job.log.info("large", text="\U0001f40c" * (size // 4))
        job.log.error("m" * 200_000)
    os.write(1, json.dumps({"made": len(TEXTS) + len(VALUES) + 6}).encode() + b"\n")


if __name__ == "__main__":
    main()
