"""A run beside the named experiment that it is of: what its values are there, and the card.
No JAX.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, NamedTuple

from otgan import experiments
from otgan.errors import UserError
from otgan.files import Plain, table
from otgan.named import find
from otgan.plain import flat
from otgan.results.run import Run


class Value(NamedTuple):
    """A key of a config beside that of its named experiment."""

    key: str
    value: str
    usual: str | None  # the named experiment's, where it differs; empty where that has no such key


def compared(run: Run) -> list[Value]:
    """The values of a run, beside those of its named experiment that differ."""
    here = {
        key: value
        for key, value in flat(run.config).items()
        if not key.startswith("card.") and key != "name"
    }
    base = usual(run.name)
    if base is None:
        return [Value(key, _text(value), None) for key, value in here.items()]
    differing = {
        key: _text(base[key]) if key in base else ""
        for key, value in here.items()
        if base.get(key) != value
    }
    return [Value(key, _text(value), differing.get(key)) for key, value in here.items()]


def card(run: Run) -> Plain:
    """The recipe's card: the run's own, else its named experiment's."""
    own = table(run.config.get("card"))
    return own or {
        key.removeprefix("card."): value
        for key, value in (usual(run.name) or {}).items()
        if key.startswith("card.")
    }


@cache
def usual(name: str) -> Plain | None:
    """The values of a named experiment by dotted key.

    None where there is none of that name that can be used.
    """
    try:
        return flat(experiments.resolve(name).model_dump(mode="json")) if find(name) else None
    except UserError:
        return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
