"""Which errors are the same error: messages without what differs from case to case."""

from __future__ import annotations

import re

__all__ = ["fingerprint"]

#: What a message is cut to before it is looked at, in characters.
_MOST = 500
#: What differs from case to case, in the order in which it is looked for, and what stands for it.
_PARTS = (
    ("<uuid>", r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"),
    ("<url>", r"\b[a-zA-Z][a-zA-Z0-9+.-]{1,15}://[^\s'\"<>]+"),
    ("<email>", r"\b[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+"),
    ("<time>", r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"),
    ("<ip>", r"\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b"),
    ("<quoted>", r"'[^'\n]*'|\"[^\"\n]*\"|`[^`\n]*`"),
    ("<path>", r"(?<![\w<])(?:[a-zA-Z]:\\|\.{0,2}/)[^\s'\":,;)\]]+"),
    (
        "<hex>",
        r"\b0[xX][0-9a-fA-F]+\b|\b(?=[0-9a-fA-F]*\d)(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{8,}\b",
    ),
    ("<id>", r"\b[A-Za-z]+[-_](?=[\w-]{0,40}\d)[\w-]+\b"),
    ("<number>", r"[+-]?(?<![\w])\d+(?:[.,]\d+)*(?:[eE][+-]?\d+)?"),
)
_ANY = re.compile("|".join(f"(?P<p{place}>{part})" for place, (_, part) in enumerate(_PARTS)))
_SPACE = re.compile(r"\s+")


def fingerprint(error_type: str, message: str) -> str:
    """What cases of the same error have in common: the type and the message's fixed words.

    Numbers, ids, addresses, paths, times and quoted values are replaced by what they are:
    ``row 7: 'x' is no number`` becomes ``row <number>: <quoted> is no number``.

    Args:
        error_type: The exception's class; may be empty.
        message: Its text, of which the first 500 characters count; may be empty.
    """
    shown = _SPACE.sub(" ", message[:_MOST]).strip()
    words = _ANY.sub(lambda found: _PARTS[int((found.lastgroup or "p0")[1:])][0], shown)
    return ": ".join(part for part in (error_type, words) if part)
