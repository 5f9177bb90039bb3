"""What a named experiment gave when it was run to its end: a file beside it, which `make reproduce
RECIPE=NAME` writes, and the sentence of its card that is made of it. No JAX.

The file also has the values that it was run with. Where those are no longer the experiment's, the
sentence says which.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from otgan.config import Config, Effect, Section, marked
from otgan.config.values import Words
from otgan.errors import UserError
from otgan.plain import flat, nested

FOLDER = "measured"  # beside the experiments
FEW = 3  # values that a sentence names
# the numbers that a sentence has, without what they are of: scores, then those of points, of modes
# and of maps, and how they were come by
SHOWN = (
    *("fid", "precision", "recall", "coverage", "w1", "w2", "w2 / w2_floor"),
    *("modes", "mode_kl", "high_quality", "uvp", "converged_share", "seconds"),
)


class Number(Section):
    """A score, or a number of a summary, over the seeds."""

    name: Words
    mean: float
    sd: float | None = None  # of a sample; None for one seed
    floor: float | None = None  # what real examples get


class Measured(Section):
    """What an experiment gave by its name alone.

    Attributes:
        date: when the last seed ended.
        otgan: the version.
        commit: of the code, with a `+` where it was changed since; empty outside of a checkout.
        where: on what it ran, in words.
        seeds: which.
        steps: the fewest and the most of a seed.
        numbers: what a reader asks first, then what else is better high or low.
        values: that it was run with, by dotted key.
    """

    date: date
    otgan: Words
    commit: Words = ""
    where: Words
    seeds: tuple[int, ...] = Field(min_length=1, strict=False)
    steps: tuple[int, int] = Field(strict=False)
    numbers: tuple[Number, ...] = Field(min_length=1, strict=False)
    values: dict[str, Any]

    def sentence(self, config: Config) -> str:
        """For the card of an experiment whose config is this today."""
        seeds = f"seed {self.seeds[0]}" if len(self.seeds) == 1 else f"{len(self.seeds)} seeds"
        fewest, most = self.steps
        steps = f"{most:,} steps" if fewest == most else f"{fewest:,} to {most:,} steps"
        changed = "+" * self.commit.endswith("+")
        code = f"otgan {self.otgan}" + (f" at {self.commit[:7]}{changed}" if self.commit else "")
        return (
            f"{seeds}, {self.date}, by its name alone{self._since(config)}, {code}, {self.where},"
            f" {steps}: {'; '.join(_by(*group) for group in groupby(self.shown, _judge))}"
        )

    @property
    def shown(self) -> list[Number]:
        """The numbers that a sentence has; all, where it would have none."""
        found = [n for n in self.numbers if re.split(r" \(|\[", n.name)[0] in SHOWN]
        return found or [*self.numbers]

    def _since(self, config: Config) -> str:
        now = values_of(config)
        changed = [f"{key} {told}" for key, told in self.then(config).items() if now[key] != told]
        more = f" and {len(changed) - FEW} more" if len(changed) > FEW else ""
        return f" (with {', '.join(changed[:FEW])}{more} then)" if changed else ""

    def then(self, config: Config) -> dict[str, Any]:
        """The values that it was run with, of the keys that a config has today; where a key came
        later, its default, for that is what it was.
        """
        try:
            told = values_of(Config.model_validate({"name": config.name, **nested(self.values)}))
        except ValidationError:  # keys that are gone
            told = self.values
        return {key: told.get(key, value) for key, value in values_of(config).items()}


def values_of(config: Config) -> dict[str, Any]:
    """The values that decide what a run of any seed gives, its length among them."""
    decisive = {*flat(config.identity()), *marked(Config, Effect.EXTENT)} - {"train.seed"}
    values = flat(config.model_dump(mode="json"))
    return {key: value for key, value in values.items() if key in decisive}


def path_of(experiment: Path) -> Path:
    """Where the file of an experiment lies that lies there."""
    return experiment.parent / FOLDER / f"{experiment.stem}.json"


def read_measured(path: Path) -> Measured | None:
    """What is known; None where nothing was measured.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        return Measured.model_validate_json(path.read_bytes()) if path.is_file() else None
    except (OSError, ValidationError) as error:
        raise UserError(f"cannot read {path}: {str(error).splitlines()[0]}") from None


def with_measured(config: Config, experiment: Path) -> Config:
    """A config whose card says what the experiment gave that lies there, if that is known.

    Raises:
        UserError: the file cannot be read.
    """
    found = read_measured(path_of(experiment))
    if found is None:
        return config
    card = config.card.model_copy(update={"measured": found.sentence(config)})
    return config.model_copy(update={"card": card})


def _judge(number: Number) -> str:
    """Whose features a score is of: it stands in brackets after the score's name."""
    return number.name.partition("[")[2].partition("]")[0]


def _by(judge: str, numbers: Iterable[Number]) -> str:
    """What one judge says, or what needs none."""
    return (f"by {judge} " if judge else "") + ", ".join(map(_told, numbers))


def _told(number: Number) -> str:
    spread = "" if number.sd is None else f" ± {_short(number.sd, 1)}"
    if number.name == "seconds":
        return f"{_short(number.mean)}{spread} s of training"
    if number.name == "converged_share":
        return f"{number.mean:.1%} of solved duals within epsilon"
    floor = "" if number.floor is None else f" (real {_short(number.floor)})"
    return f"{number.name.partition('[')[0]} {_short(number.mean)}{spread}{floor}"


def _short(value: float, digits: int = 3) -> str:
    """So many digits, or all that are before the point."""
    return f"{value:,.0f}" if abs(value) >= 10 ** min(digits, 2) else f"{value:.{digits}g}"
