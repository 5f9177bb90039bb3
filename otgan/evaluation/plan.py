"""How something is to be judged: which measures, by which features, from how many examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from otgan.config import Measures
from otgan.models.resize import Convention

KINDS: tuple[str, ...] = get_args(Measures)


@dataclass(frozen=True)
class EvalPlan:
    """What to measure, and how; the options of `otgan eval` that are a part of every score's
    protocol.

    Attributes:
        flags: the kinds of measures; one that is named and cannot be had is refused. Without any,
            those that are quick and suit the data.
        everything: whether kinds that cannot be had are left out; without flags, whatever can be
            had is measured.
        at_end: whether only those measures are taken that stand in every run's summary.
        features: a name or a file; None is a network that was trained on the data, and that the
            generator was not trained on.
        resize: how the Inception's images are resized and scaled.
        samples: how many generated examples a seed; None is the usual number, or all that there
            are.
        split: the real examples to compare with.
        seeds: sets of samples, whose spread is shown.
        rounded: whether generated images are rounded to bytes first.
        batch_size: examples in one go through the network; changes no score beyond rounding.
        allow_few: whether a measure may have fewer examples than it needs; its scores are marked.
    """

    flags: tuple[str, ...] = ()
    everything: bool = False
    at_end: bool = False
    features: str | None = None
    resize: Convention = "tf1"
    samples: int | None = None
    split: Literal["test", "train"] = "test"
    seeds: int = 1
    rounded: bool = True
    batch_size: int = 200
    allow_few: bool = False

    def kinds(self, images: bool) -> tuple[str, ...]:
        """The kinds of measures that are taken of images, or of points."""
        quick = ("fid",) if images else ("wasserstein", "modes", "pr")
        return self.flags or (KINDS if self.everything else quick)

    @property
    def lenient(self) -> bool:
        """Whether what cannot be had is left out: what was not asked for by name."""
        return self.everything or not self.flags


AT_END = EvalPlan(at_end=True, batch_size=1_000, allow_few=True)
"""How every run on points is judged at its end."""
