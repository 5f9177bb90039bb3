"""What every table of a config is made of: sections that know all their keys, and amounts with a unit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer


@dataclass(frozen=True)
class Amount:
    """A positive number in the units of the cost or, written with an `x` (`0.03x`), in multiples of the batch's mean cost."""

    value: float
    relative: bool = False

    def __str__(self) -> str:
        return f"{self.value:g}{'x' if self.relative else ''}"

    @property
    def finite(self) -> bool:
        """Whether it is not inf."""
        return math.isfinite(self.value)

    def times(self, mean_cost):
        """The amount in units of the cost, given the batch's mean cost (a float or a scalar array)."""
        return self.value * mean_cost if self.relative else self.value


def parse_amount(raw: Any) -> Amount:
    """Read `1.0`, `"0.03x"` or `"inf"`.

    Raises:
        ValueError: it is no number, or not above zero.
    """
    if isinstance(raw, Amount):
        return raw
    text = str(raw).strip()
    try:
        value = float(text.removesuffix("x"))
    except ValueError:
        raise ValueError(f"needs a number such as 0.5, or 0.03x for a multiple of the mean cost, not {text!r}") from None
    if not value > 0:
        raise ValueError(f"must be above 0, not {text}")
    return Amount(value, relative=text.endswith("x") and math.isfinite(value))


def _plain_amount(amount: Amount) -> float | str:
    return str(amount) if amount.relative or not amount.finite else amount.value


def _finite(amount: Amount) -> Amount:
    if not amount.finite:
        raise ValueError("must be finite")
    return amount


AmountOrInf = Annotated[Amount, BeforeValidator(parse_amount), PlainSerializer(_plain_amount)]
FiniteAmount = Annotated[Amount, BeforeValidator(lambda raw: _finite(parse_amount(raw))), PlainSerializer(_plain_amount)]


class Section(BaseModel):
    """A table of the config: immutable, every key known, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
