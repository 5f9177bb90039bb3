"""What the rules say of data that they have looked at, once for all runs on them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from otgan.config import UserData
from otgan.data import load, picture_sizes
from otgan.errors import UserError
from otgan.suggest.facts import Facts, look
from otgan.suggest.rules import RULES, Setting, scaled


def suggest(data: UserData, given: Collection[str] = ()) -> tuple[str, Facts, list[Setting]]:
    """The recipe for data, what is seen of them, and what its rules say; of keys that are given,
    nothing.

    Raises:
        UserError: the data cannot be read.
    """
    first, facts = _seen(data, given)
    name = "pictures" if facts.images else "points"
    return name, facts, [*first, *(s for s in RULES[name](facts) if s.key not in given)]


def fitted(rules: str, data: UserData, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the rules of a recipe say of data, by key, and why; without what is given.

    Raises:
        UserError: the data cannot be read, or the rules are for others.
    """
    first, facts = _seen(data, given)
    if facts.images != (rules == "pictures"):
        there, other = ("pictures", "points")[:: 1 if facts.images else -1]
        raise UserError(f"{data.path} holds {there}, and {other} is for {other}: otgan run {there}")
    settings = [*first, *(s for s in RULES[rules](facts) if s.key not in given)]
    return {
        **{setting.key: setting.value for setting in settings},
        "rules": "none",
        "card.why": [str(setting) for setting in settings],
    }


def _seen(data: UserData, given: Collection[str]) -> tuple[list[Setting], Facts]:
    """How pictures come to be of one size, but for what is given; what is seen of data then."""
    sizes = _sizes_of(*_as_now(data))
    if not sizes:  # an array, or what is refused now
        facts = _facts_of(*_as_now(data))
        sizes = {(facts.shape[1], facts.shape[0])} if facts.images else set()
    chosen = {"data.resize": data.resize is not None, "data.crop": data.crop != "none"}
    first = [s for s in scaled(sizes) if s.key not in given and not chosen[s.key]]
    update = {setting.key.removeprefix("data."): setting.value for setting in first}
    return first, _facts_of(*_as_now(data.model_copy(update=update)))


# --- what is remembered until the data change: the cells of a sweep are fitted one by one ---------


def _as_now(data: UserData) -> tuple[str, int]:
    """A section of the config, and when what it names changed."""
    path = Path(data.path).expanduser()
    return data.model_dump_json(), path.stat().st_mtime_ns if path.exists() else 0


@lru_cache(maxsize=4)
def _sizes_of(section: str, changed: int) -> set[tuple[int, int]]:
    del changed
    return picture_sizes(UserData.model_validate_json(section))


@lru_cache(maxsize=4)
def _facts_of(section: str, changed: int) -> Facts:
    del changed
    return look(load(UserData.model_validate_json(section)))
