"""`otgan.experiments.resolve`, and what data have to say in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from otgan import experiments
from otgan.config import Config, UserData
from otgan.data import Dataset, load
from otgan.errors import UserError
from otgan.suggest.facts import Facts, look
from otgan.suggest.local import AMOUNTS, in_units_of_cost, is_local, local_scale
from otgan.suggest.rules import RULES, Setting

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
    if isinstance(config.data, UserData) and config.data.path == NOWHERE:
        raise UserError(f"{config.name} is for data of your own: give them with --data")
    dataset = load(config.data, data_dir)
    if config.rules != "none":
        plain = {**fitted(config, look(dataset), given), **plain}
        config = experiments.resolve(target, plain, source)
    if local:
        plain |= in_units_of_cost(local, local_scale(config, dataset))
        config = experiments.resolve(target, plain, source)
    return config


def fitted(config: Config, facts: Facts, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the rules of a config say of data, by key, and why; without what is given.

    Raises:
        UserError: the rules are for other data.
    """
    settings = [setting for setting in RULES[config.rules](facts) if setting.key not in given]
    return {
        **{setting.key: setting.value for setting in settings},
        "rules": "none",
        "card.why": [str(setting) for setting in settings],
    }


def suggestions(dataset: Dataset) -> tuple[str, Facts, list[Setting]]:
    """The recipe for data, what is seen of them, and what its rules say."""
    facts = look(dataset)
    name = "pictures" if facts.images else "points"
    return name, facts, RULES[name](facts)
