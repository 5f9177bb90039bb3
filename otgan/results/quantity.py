"""What a number is: its name, meaning and unit, which way is better, how it is written and
condensed. No JAX.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, NamedTuple, get_args

Better = Literal["lower", "higher", ""]
Form = Literal["number", "share", "count", "tenths", "fine", "bytes"]
Window = Literal["mean", "mean of updates", "sum", "largest"]
Seeds = Literal["mean", "none"]

# what a run says of itself, where it does not
UNTOLD = {"modes_total": "all", "gap_of": "solved duals", "gap_kind": "reported"}
PATTERNS = {"number": "{:.4g}", "count": "{:,.0f}", "tenths": "{:.1f}", "fine": "{:.4f}"}


class Warned(NamedTuple):
    """What a reader must know of a number above a level.

    `{shown}` in the sentence stands for the number.
    """

    level: float
    sentence: str


class Curve(NamedTuple):
    """A curve over the steps of a run: its title, and a sentence below it."""

    title: str
    sentence: str


@dataclass(frozen=True)
class Quantity:
    """A number that a run records, whoever computes it: the loop, a family, a measure.

    Attributes:
        name: its key in `metrics.jsonl`, `status.json`, CSV and JSON.
        meaning: a few words; `{modes_total}`, `{gap_of}` and `{gap_kind}` stand for what the run
            says of these.
        unit: `cost`, `data`, `gap`, or empty where the words say it.
        better: which way is better; empty where neither is. A number with a direction is a result,
            and stands in a sweep's table.
        format: how it is written; a share, 0 to 1, in percent.
        over_window: how the steps of a window are condensed; `mean of updates` leaves out steps
            without an update.
        over_seeds: whether its mean over seeds says something: not that of a setting, or of a floor
            that stands beside another number.
        must_be_finite: whether a run ends as diverged where it is not.
        summarized: whether a run's summary has the last window's.
        brief: even fewer words, for the first screen of a page; None where it does not stand there.
        curve: how it is drawn over the steps; None where it is not.
        warned: what must be said of it above a level.
    """

    name: str
    meaning: str = ""
    unit: Literal["cost", "data", "gap", ""] = ""
    better: Better = ""
    format: Form = "number"
    over_window: Window = "mean"
    over_seeds: Seeds = "mean"
    must_be_finite: bool = False
    summarized: bool = True
    brief: str | None = None
    curve: Curve | None = None
    warned: Warned | None = None

    def sentence(self, facts: Mapping[str, Any] | None = None) -> str:
        """Its meaning with its unit, filled in from what a run's summary says."""
        words = self.told(self.meaning, facts or {})
        return ", ".join(filter(None, [words, self.unit and f"units of the {self.unit}"]))

    @staticmethod
    def told(words: str, facts: Mapping[str, Any]) -> str:
        """Words with what a run says in the places of `{modes_total}`, `{gap_of}`, `{gap_kind}`.

        Other braces are left as they are.
        """
        for key, otherwise in UNTOLD.items():
            words = words.replace(f"{{{key}}}", str(facts.get(key) or otherwise))
        return words

    def text(self, value: float | None) -> str:
        """A value for a reader; empty for none."""
        if value is None:
            return ""
        if not math.isfinite(value):
            return str(value)
        if self.format == "share":
            return f"{percentage(value)}%"
        return (
            f"{value / 2**20:,.0f} MiB"
            if self.format == "bytes"
            else PATTERNS[self.format].format(value)
        )

    def deviation(self, sd: float | None) -> str:
        """A standard deviation to stand behind a value, in its unit; empty for none."""
        if sd is None:
            return ""
        return {"share": f" ± {100 * sd:.2g}%", "bytes": f" ± {sd / 2**20:.2g} MiB"}.get(
            self.format, f" ± {sd:.2g}"
        )

    def warning(self, value: float | None) -> str:
        """What a reader must know of a value; empty where there is nothing."""
        if self.warned is None or value is None or not value > self.warned.level:
            return ""
        return self.warned.sentence.replace("{shown}", self.text(value))

    def record(self) -> dict[str, Any]:
        """As plain data: what differs from a number of which nothing is said."""
        usual = Quantity(self.name)
        return {
            key: value
            for key, value in asdict(self).items()
            if key == "name" or value != getattr(usual, key)
        }


CHOICES = {
    "unit": ("cost", "data", "gap", ""),
    "better": get_args(Better),
    "format": get_args(Form),
}
CHOICES |= {"over_window": get_args(Window), "over_seeds": get_args(Seeds)}
WORDS, SWITCHES = ("name", "meaning", "brief"), ("must_be_finite", "summarized")


def of_record(record: Any) -> Quantity | None:
    """A quantity from plain data, whoever wrote it: what this version does not know of it is left
    out; None where it has no name.
    """
    if not isinstance(record, Mapping) or not isinstance(record.get("name"), str):
        return None
    known = {
        key: value
        for key, value in record.items()
        if key in {field.name for field in fields(Quantity)}
    }
    sound: dict[str, Any] = {
        key: value
        for key, value in known.items()
        if key in CHOICES and isinstance(value, str) and value in CHOICES[key]
    }
    sound |= {key: value for key, value in known.items() if key in WORDS and isinstance(value, str)}
    sound |= {
        key: value for key, value in known.items() if key in SWITCHES and isinstance(value, bool)
    }
    match known.get("warned"):
        case [int() | float() as level, str() as sentence]:
            sound["warned"] = Warned(level, sentence)
    match known.get("curve"):
        case [str() as title, str() as sentence]:
            sound["curve"] = Curve(title, sentence)
    return Quantity(**sound)


def percentage(share: float) -> str:
    """A share in percent, which is 100 only where all are meant: 0.9999 is 99.9."""
    return f"{math.floor(round(1000 * share, 6)) / 10:.1f}"
