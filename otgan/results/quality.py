"""What a run's samples are worth, in words that cannot flatter: precision and recall beside those
of real examples, and what a W2 below its floor means. No JAX.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any, NamedTuple

from otgan.files import number, table

FAR = 0.75  # of its floor: below that something is wrong
SHORT = 0.9  # and below that, something is missing
FLATTERING = 0.97  # of its floor: a W2 that real points do not reach
FEW = 1_000  # held-out examples: of fewer, recall comes with an interval
QUANTILE = 1.96  # of the normal distribution, for 95 %
MEASURES = ("precision", "recall")


class Beside(NamedTuple):
    """A number, and what real examples get."""

    value: float
    floor: float

    @property
    def share(self) -> float:
        """The one over the other."""
        return self.value / self.floor

    def __str__(self) -> str:
        return f"{self.value:.2f} of {self.floor:.2f}"


def quality(summary: Mapping[str, Any]) -> str:
    """A sentence on the samples of a run, by its summary; empty where it has no precision and
    recall, or not their floors.
    """
    precision, recall = (_found(summary, name) for name in MEASURES)
    if precision is None or recall is None:
        return ""
    w2, count = _found(summary, "w2"), number(summary.get("held_out"))
    said, few = str(recall), ""
    if count and count < FEW:
        low, high = interval(recall.value, count)
        said = f"{recall.value:.2f} [{low:.2f}, {high:.2f}] of {recall.floor:.2f}"
        few = f" (95 % interval: {count:,.0f} held-out examples are few)"
    shares = f"recall {said}{few}, precision {precision}"
    flattering = (
        f"; W2 is {w2.share:.2f} of what real points get, which samples near the means of the data"
        " bring about: it says less than recall"
        if w2 is not None and w2.share < FLATTERING
        else ""
    )
    return f"{_word(precision, recall)}: {shares}{flattering}"


def interval(share: float, count: float) -> tuple[float, float]:
    """Where a share that was counted on so few examples may lie: Wilson's score interval (1927),
    95 %.

    It takes examples for independent, as those of a neighborhood are not quite.
    """
    square = QUANTILE**2 / count
    middle = (share + square / 2) / (1 + square)
    half = sqrt(square * (share * (1 - share) + square / 4)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def _word(precision: Beside, recall: Beside) -> str:
    if max(precision.share, recall.share) < FAR:
        return "far from the data"
    if recall.share < FAR:
        return "too narrow"
    if precision.share < FAR:
        return "too wide"
    if min(precision.share, recall.share) >= SHORT:
        return "as real examples, or nearly"
    return "a little narrow" if recall.share < precision.share else "a little wide"


def _found(summary: Mapping[str, Any], name: str) -> Beside | None:
    """A number with its floor: of points the summary's own, of pictures a score's."""
    scores, floors = table(summary.get("scores")), table(summary.get("floors"))
    named = [metric for metric in scores if metric.partition("[")[0] == name]
    value = number(summary.get(name, scores.get(named[0]) if named else None))
    floor = number(summary.get(f"{name}_floor", floors.get(named[0]) if named else None))
    return Beside(value, floor) if value is not None and floor else None
