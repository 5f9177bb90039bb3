"""What every table of a config is made of: sections that know all their keys, and amounts with a
unit.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import cache
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from otgan.plain import require_path, require_printable, whole_path


@dataclass(frozen=True)
class Amount:
    """A positive number in the units of the cost or, written with an `x` (`0.03x`), in multiples of
    the batch's mean cost.
    """

    value: float
    relative: bool = False

    def __str__(self) -> str:
        return f"{self.value:g}{'x' if self.relative else ''}"

    @property
    def plain(self) -> float | str:
        """As a file has it: a number where that says all."""
        return str(self) if self.relative or not self.finite else self.value

    @property
    def finite(self) -> bool:
        """Whether it is not inf."""
        return math.isfinite(self.value)

    def times(self, mean_cost):
        """The amount in units of the cost, given the batch's mean cost (a float or a scalar
        array).
        """
        return self.value * mean_cost if self.relative else self.value


def parse_amount(raw: Any, others: str = "") -> Amount:
    """Read `1.0`, `"0.03x"` or `"inf"`; a refusal names `others` too.

    Raises:
        ValueError: it is no number, or not above zero.
    """
    if isinstance(raw, Amount):
        return raw
    text = str(raw).strip()
    try:
        value = float(text.removesuffix("x"))
    except ValueError:
        raise ValueError(
            f"needs a number such as 0.5, or 0.03x for a multiple of the mean cost,{others} not"
            f" {text!r}"
        ) from None
    if not value > 0:
        raise ValueError(f"must be above 0, not {text}")
    return Amount(value, relative=text.endswith("x") and math.isfinite(value))


LARGEST = 2**63  # bytes
UNITS = {"B": 1} | {
    f"{prefix}{binary}B": (1024 if binary else 1000) ** power
    for power, prefix in enumerate("KMGT", start=1)
    for binary in ("", "i")
}


@dataclass(frozen=True)
class Size:
    """A number of bytes, written as `500MB`, `4GB` or `2GiB`."""

    bytes: int

    @classmethod
    def above(cls, number: int) -> Size:
        """At least so many bytes, in two digits or more of a decimal unit."""
        decimal = [size for unit, size in UNITS.items() if "i" not in unit]
        unit = max((size for size in decimal if 10 * size <= number), default=1)
        return cls(-(-number // unit) * unit)

    def __str__(self) -> str:
        whole = [unit for unit, size in UNITS.items() if self.bytes % size == 0]
        unit = max(whole, key=UNITS.__getitem__)
        return f"{self.bytes // UNITS[unit]}{unit}"

    @property
    def plain(self) -> str:
        """As a file has it."""
        return str(self)


def parse_size(raw: Any) -> Size:
    """Read `500MB`, `1.5GB`, `2GiB` or a number of bytes.

    Raises:
        ValueError: it is none of them, below one byte, or more than there can be.
    """
    if isinstance(raw, Size):
        return raw
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]i?B|B|)", str(raw).strip())
    number = int(Fraction(found[1]) * UNITS[found[2] or "B"]) if found else 0
    if not 0 < number < LARGEST:
        raise ValueError(f"needs a size such as 500MB, 4GB or 2GiB, not {str(raw)!r}")
    return Size(number)


Rule = Literal["adaptive", "calibrated"]
RULES: dict[str, Rule] = {rule: rule for rule in get_args(Rule)}
NOISE = 0.1  # share of the gradient's noise that an error may have unless told otherwise


@dataclass(frozen=True)
class Adaptive:
    """An accuracy that every step sets itself: the loosest with which the dual's error in the
    generator's gradient is at most `fraction` of the noise of that gradient.

    `adaptive` bounds the error by the theory, `calibrated` by what is measured during the run.
    """

    rule: Rule
    fraction: float = NOISE

    @property
    def plain(self) -> str:
        """As a file has it."""
        return str(self)

    def __str__(self) -> str:
        return self.rule if self.fraction == NOISE else f"{self.rule}:{self.fraction:g}"


def parse_accuracy(raw: Any) -> Amount | Adaptive:
    """Read a finite amount, `"adaptive"`, `"calibrated"`, or one of the two with a fraction of its
    own: `"calibrated:0.3"`.

    Raises:
        ValueError: it is none of them.
    """
    if isinstance(raw, Adaptive):
        return raw
    word, colon, fraction = str(raw).strip().partition(":")
    rule = RULES.get(word)
    if rule is None:
        return _finite(parse_amount(raw, " or adaptive, or calibrated,"))
    if not colon:
        return Adaptive(rule)
    try:
        value = float(fraction)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(
            f"needs a share of the noise above 0 behind {rule}:, such as {rule}:{NOISE:g}, not"
            f" {fraction!r}"
        )
    return Adaptive(rule, value)


def _finite(amount: Amount) -> Amount:
    if not amount.finite:
        raise ValueError("must be finite")
    return amount


_AS_PLAIN = PlainSerializer(lambda value: value.plain)
AmountOrInf = Annotated[Amount, BeforeValidator(parse_amount), _AS_PLAIN]
FiniteAmount = Annotated[Amount, BeforeValidator(lambda raw: _finite(parse_amount(raw))), _AS_PLAIN]
Accuracy = Annotated[Amount | Adaptive, BeforeValidator(parse_accuracy), _AS_PLAIN]

MemorySize = Annotated[Size, BeforeValidator(parse_size), _AS_PLAIN]


class Section(BaseModel):
    """A table of the config: immutable, every key known, no silent conversions."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, arbitrary_types_allowed=True
    )


Words = Annotated[str, AfterValidator(require_printable)]
"""For a reader: no control codes, which would work on the terminal that they are printed on."""
PathText = Annotated[str, AfterValidator(require_path)]
"""A path of a file or a folder that need not be there."""
WholePath = Annotated[str, AfterValidator(whole_path)]
"""The same, named from the root."""


class Effect(StrEnum):
    """What a key changes that changes nothing of what a run computes.

    It stands in the annotation of the key's field.
    """

    NAME = "what a run is called"
    EXTENT = "how far it goes: a budget, which may be raised later"
    SAMPLES = "how many samples its numbers are of"
    VIEW = "what is shown and kept of it, and how often"


@cache
def marked(model: type[BaseModel], *effects: Effect) -> frozenset[str]:
    """The keys of a model, and of the tables in it, that are marked by one of these effects, or by
    any: dotted, down to single values.
    """
    return frozenset(key for key, effect in _effects(model, None) if effect in (effects or Effect))


def _effects(model: type[BaseModel], outer: Effect | None) -> list[tuple[str, Effect]]:
    found = []
    for name, field in model.model_fields.items():
        effect = next((mark for mark in field.metadata if isinstance(mark, Effect)), outer)
        inner = [part for table in models(field.annotation) for part in _effects(table, effect)]
        found += [(f"{name}.{key}", mark) for key, mark in inner]
        if effect and not models(field.annotation):
            found.append((name, effect))
    return found


def models(annotation: Any) -> list[type[BaseModel]]:
    """The models that a field's annotation names: one of a table, several of a choice between
    tables.
    """
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in models(inner)]
