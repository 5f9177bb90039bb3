"""A config for a reader."""

from __future__ import annotations

import json
import math
from typing import Any

from otgan.config import Config, Neural, Regularized


def describe(config: Config) -> str:
    """A config for a reader: the card, the values as TOML, and lam in other tools' words."""
    card = config.card
    facts = [
        ("paper", card.paper),
        ("expect", card.expect),
        ("gave", card.measured),
        ("cost", card.cost),
        ("note", card.note),
        ("run", f"otgan run {config.name}"),
    ]
    head = [f"{config.name}: {card.title}", *(f"  {name:7} {text}" for name, text in facts if text)]
    unused = {} if config.cost.encoded else {"cost": {"encoder"}}
    tables = config.model_dump(
        mode="json", exclude={"card": True, "name": True, **unused}, exclude_none=True
    )
    elsewhere = [f"  {line}" for line in translations(config)]
    return "\n".join(
        [*head, "", *_toml(tables), *(["", "lam elsewhere", *elsewhere] if elsewhere else [])]
    )


def translations(config: Config) -> list[str]:
    """What the lam of a config is in POT, GeomLoss and ott-jax, if its family has one that they
    know.
    """
    if not isinstance(config.oracle, Regularized | Neural):
        return []
    lam = config.oracle.lam
    if lam.relative:
        return [
            (
                f"{lam} is in multiples of the batch's mean cost; with the absolute lam that a run"
                " prints,"
            ),
            *_elsewhere(config, None),
        ]
    return _elsewhere(config, lam.value)


def _elsewhere(config: Config, lam: float | None) -> list[str]:
    assert isinstance(config.oracle, Regularized | Neural)
    value = "lam" if lam is None else f"{lam:g}"
    if config.oracle.regularizer == "l2":
        return [
            (
                f"POT       ot.smooth.smooth_ot_dual(..., reg={value} * n * m, reg_type='l2') on n"
                " x m points"
            ),
            "GeomLoss  none",
            "ott-jax   none",
        ]
    blur = "sqrt(lam / 2)" if lam is None else f"{math.sqrt(lam / 2):.4g}"
    geomloss = (
        f"blur={blur} with p=2, whose cost is half of ours"
        if config.cost.name == "squared_l2"
        else "none for this cost"
    )
    return [f"POT       reg={value}", f"GeomLoss  {geomloss}", f"ott-jax   epsilon={value}"]


def _toml(tables: dict[str, Any], prefix: str = "") -> list[str]:
    plain = [
        f"{key} = {json.dumps(value)}"
        for key, value in tables.items()
        if not isinstance(value, dict)
    ]
    lines = [f"[{prefix}]", *plain] if prefix else plain
    for key, value in tables.items():
        if isinstance(value, dict):
            lines += ["", *_toml(value, f"{prefix}.{key}" if prefix else key)]
    return lines
