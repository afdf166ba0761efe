"""Weights of experts, learnt from how wrong each was, and probabilities set right by the past.

Sources: Freund and Schapire, "A decision-theoretic generalization of on-line learning" (1997), for
the weights; Freund et al., "Using and combining predictors that specialize" (1997), for experts
that do not always have a say; Kuleshov et al., "Accurate uncertainties for deep learning using
calibrated regression" (2018), for the probabilities.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from fiveobs.monitor.analytics.columns import Floats, Mask

__all__ = ["Mixing", "Recalibration"]

#: How much a loss changes a weight; losses are in times of the usual one.
_RATE = 0.1
_MOST_LOSS = 10.0
#: No expert is ever out of it: times may change.
_LEAST_SHARE = 0.001
#: How quickly what is usual follows.
_LEAST_STEP = 0.01


class Mixing:
    """The weights of some experts.

    Args:
        experts: How many.
    """

    def __init__(self, experts: int) -> None:
        self._logs = np.zeros(experts)
        self._usual, self._count = 0.0, 0

    def weights(self, awake: Mask) -> Floats:
        """Shares of those that have a say, which sum to 1; of the others 0.

        Args:
            awake: Which have one; at least one has.
        """
        found = np.where(awake, np.exp(self._logs), 0.0)
        return np.asarray(found / found.sum())

    def learn(self, awake: Mask, weights: Floats, losses: Floats, usual: float) -> None:
        """Weigh those less that lost more than the mixture.

        Args:
            awake: Which had a say.
            weights: What they had then.
            losses: What each lost.
            usual: What the mixture lost, from which the scale of losses is learnt.
        """
        self._count += 1
        self._usual += (usual - self._usual) * max(_LEAST_STEP, 1 / self._count)
        scaled = np.minimum(losses / max(self._usual, 1e-9), _MOST_LOSS)
        regret = np.where(awake, scaled - float(weights[awake] @ scaled[awake]), 0.0)
        self._logs -= _RATE * regret
        self._logs -= self._logs.max()
        np.maximum(self._logs, np.log(_LEAST_SHARE), out=self._logs)


class Recalibration:
    """Which probabilities a distribution must be asked for, so that the interval holds.

    A distribution that says too little of its tails is asked further out.

    Args:
        tail: What is to lie below the interval, and what above it.
    """

    #: Past outcomes that are looked at, how many it takes, and after how many it is done anew.
    WINDOW, LEAST, EVERY = 300, 16, 8
    #: It never goes further out: what is there is the rarest thing ever seen.
    FURTHEST = 0.01

    def __init__(self, tail: float) -> None:
        # What learns from few outcomes is too sure of itself: further out, until more are known.
        self.low, self.high = tail / 2, 1 - tail / 2
        self._tail = tail
        self._below: deque[float] = deque(maxlen=self.WINDOW)
        self._up_to: deque[float] = deque(maxlen=self.WINDOW)
        self._count = 0

    def probabilities(self) -> Floats:
        """Low, the half, and high."""
        return np.array([self.low, 0.5, self.high])

    def learn(self, below: float, up_to: float) -> None:
        """Take over where an outcome lay.

        Args:
            below: The probability that it would be less.
            up_to: That it would be this or less; more than the other where values repeat.
        """
        self._below.append(below)
        self._up_to.append(up_to)
        self._count += 1
        if self._count >= self.LEAST and self._count % self.EVERY == 0:
            self._set()

    def _set(self) -> None:
        lows, highs = np.sort(self._up_to), np.sort(self._below)
        outside = int(self._tail * (len(lows) + 1))
        low, high = float(lows[max(outside - 1, 0)]), float(highs[-max(outside, 1)])
        self.low = min(max(low, self.FURTHEST), 0.5)
        self.high = max(min(high + 1e-9, 1 - self.FURTHEST), 0.5)
