"""`otgan.experiments.resolve`, and what data have to say in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from otgan import experiments
from otgan.config import Config, UserData
from otgan.data import load, picture_sizes
from otgan.errors import UserError
from otgan.suggest.facts import Facts, look
from otgan.suggest.local import AMOUNTS, in_units_of_cost, is_local, local_scale
from otgan.suggest.rules import RULES, Setting, scaled

NOWHERE = "DATA"  # where the data of a recipe are that is made for anybody's


def resolve(
    target: str,
    overrides: Mapping[str, Any] | None = None,
    source: str | None = None,
    data_dir: Path | None = None,
) -> Config:
    """The config of an experiment, what depends on the data filled in.

    That is what the rules of `points` and `pictures` say, unless `overrides` say otherwise, and
    amounts such as `0.5s`. The config has plain values, and repeats without the rules; its card
    says why they are what they are.

    Args:
        target: an experiment's name, or a path to a file of one.
        overrides: new values by dotted key.
        source: where the data come from: "tfds", "sample", or the path of the user's own data.
        data_dir: where TFDS has prepared data.

    Raises:
        UserError: as `otgan.experiments.resolve`; the data cannot be read; a local scale is not
            known.
    """
    given = dict(overrides or {})
    local = {key: value for key, value in given.items() if key in AMOUNTS and is_local(value)}
    plain = {key: value for key, value in given.items() if key not in local}
    config = experiments.resolve(target, plain, source)
    if config.rules == "none" and not local:
        return config
    if config.rules != "none":
        plain = {**_fitted(config, given), **plain}
        config = experiments.resolve(target, plain, source)
    if local:
        scale = local_scale(config, load(config.data, data_dir))
        config = experiments.resolve(target, plain | in_units_of_cost(local, scale), source)
    return config


def suggest(data: UserData, given: Collection[str] = ()) -> tuple[str, Facts, list[Setting]]:
    """The recipe for data, what is seen of them, and what its rules say; of keys that are given,
    nothing.

    Raises:
        UserError: the data cannot be read.
    """
    first, facts = _seen(data, given)
    name = "pictures" if facts.images else "points"
    return name, facts, [*first, *(s for s in RULES[name](facts) if s.key not in given)]


def _fitted(config: Config, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the rules of a config say of its data, by key, and why; without what is given.

    Raises:
        UserError: there are no data, they cannot be read, or the rules are for others.
    """
    if not isinstance(config.data, UserData):
        raise UserError(
            f"{config.name} is for data of your own: --data FILE or FOLDER, not {config.data.kind}"
        )
    if config.data.path == NOWHERE:
        raise UserError(f"{config.name} is for data of your own: give them with --data")
    first, facts = _seen(config.data, given)
    if facts.images != (config.rules == "pictures"):
        there, other = ("pictures", "points")[:: 1 if facts.images else -1]
        raise UserError(
            f"{config.data.path} holds {there}, and {other} is for {other}: otgan run {there}"
        )
    settings = [*first, *(s for s in RULES[config.rules](facts) if s.key not in given)]
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
