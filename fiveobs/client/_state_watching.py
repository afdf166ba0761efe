"""What a watch of states asks for, and what comes; does no I/O itself."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import TypedDict

from fiveobs.client._following import DEFAULT_PATIENCE_S, Following
from fiveobs.client._reading import read
from fiveobs.client.answers import StateAnswer
from fiveobs.exceptions import AnswerError, BadInputError

__all__ = ["StateWatchOptions", "StateWatching"]

#: The message by which a monitor says that all that was there has been sent.
_SYNCED = "synced"


class StateWatchOptions(TypedDict, total=False):
    """Which states a watch gives, and from where on; what is left out means any."""

    #: Of these kinds: ``job``, ``worker``, ``machine``, ``service``, ``document``.
    kinds: Collection[str]
    #: Only what changed after this place (``last_event_id`` of an earlier watch).
    after: str
    #: Only what changes from now on, not the present states first.
    from_now: bool
    #: How long the monitor may be gone before the watch gives up, in seconds; default 60.
    patience_s: float


class StateWatching(Following[StateAnswer]):
    """One watch of states, over as many connections as it takes.

    Args:
        options: Which states.

    Raises:
        BadInputError: There is no such option.
    """

    def __init__(self, options: StateWatchOptions) -> None:
        if unknown := options.keys() - StateWatchOptions.__annotations__.keys():
            raise BadInputError(f"a watch of states has no option {min(unknown)!r}")
        kinds = options.get("kinds", ())
        query = {
            "kind": [kinds] if isinstance(kinds, str) else [str(each) for each in kinds],
            "from": ["now"] if options.get("from_now") else [],
        }
        #: All that was there when it began has been given out.
        self.is_synced = False
        super().__init__(
            "state/watch",
            {name: values for name, values in query.items() if values},
            options.get("after", ""),
            options.get("patience_s", DEFAULT_PATIENCE_S),
        )

    def take(self, chunk: bytes) -> Iterator[StateAnswer]:
        """Give the states in what has come.

        Raises:
            AnswerError: It is none.
        """
        for message in self._stream.feed(chunk):
            self._failures = 0
            if message.name == _SYNCED:
                self.is_synced = True
            else:
                yield _to_state(message.data)

    def _begin_anew(self) -> None:
        super()._begin_anew()
        self.is_synced = False


def _to_state(data: str) -> StateAnswer:
    try:
        return read(StateAnswer, json.loads(data))
    except ValueError as exc:
        raise AnswerError(f"the monitor sent no state: {data:.80}") from exc
