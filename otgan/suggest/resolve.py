"""`otgan.experiments.resolve`, and what data have to say in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from otgan import experiments, places
from otgan.config import Config, UserData
from otgan.errors import UserError

AMOUNTS = ("oracle.lam", "oracle.epsilon", "oracle.tau")
WRITTEN = re.compile(r"(\d+\.?\d*(e-?\d+)?|\.\d+)s")
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
    own = _own_data(config) if config.rules != "none" else None
    places.require_all(config, data_dir)
    # here, because most experiments need no look at their data
    from otgan.data import load
    from otgan.suggest.fitting import fitted
    from otgan.suggest.local import in_units_of_cost, local_scale

    if own:
        plain = {**fitted(config.rules, own, given), **plain}
        config = experiments.resolve(target, plain, source)
    if local:
        scale = local_scale(config, load(config.data, data_dir))
        config = experiments.resolve(target, plain | in_units_of_cost(local, scale), source)
    return config


def is_local(value: Any) -> bool:
    """Whether a value is written in multiples of the local scale: `0.5s`."""
    return isinstance(value, str) and WRITTEN.fullmatch(value.strip()) is not None


def _own_data(config: Config) -> UserData:
    """The data of a recipe for data of one's own.

    Raises:
        UserError: it is given none.
    """
    if not isinstance(config.data, UserData):
        raise UserError(
            f"{config.name} is for data of your own: --data FILE or FOLDER, not {config.data.kind}"
        )
    if config.data.path == NOWHERE:
        raise UserError(f"{config.name} is for data of your own: give them with --data")
    return config.data
