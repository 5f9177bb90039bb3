"""How far a run goes: steps, updates of the generator and seconds, and the share of them that is
used. No JAX.

The budget that is used up first ends the run; by the same share go what its schedules and pictures
do. A budget may be raised later: then the run goes on, and the share is that of the new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

from otgan.config import Config, Train
from otgan.plain import flat

# by key of the config, what counts against it in a line of `metrics.jsonl`
USED_BY = {
    "train.steps": "step",
    "train.generator_steps": "generator_steps",
    "train.seconds": "seconds",
}


def share_used(train: Train, used: Mapping[str, Any]) -> float:
    """The share of the budgets that is used, of several the largest; above 1 where one was overrun.

    Args:
        train: the budgets.
        used: so far, by name as in `metrics.jsonl`; what is absent is nothing.
    """
    budgets = {name: getattr(train, key.rpartition(".")[2]) for key, name in USED_BY.items()}
    return max(used.get(name, 0) / budget for name, budget in budgets.items() if budget is not None)


def picture_steps(train: Train) -> list[int]:
    """The steps after which samples are drawn where steps alone are limited: evenly spread, the
    last step among them.
    """
    steps, pictures = train.steps, train.pictures
    return sorted({max(1, round(steps * (i + 1) / pictures)) for i in range(pictures)})


def pictures_due(train: Train, used: Mapping[str, Any]) -> int:
    """How many pictures there should be by now, that of the end among them."""
    by_steps = sum(step <= used.get("step", 0) for step in picture_steps(train))
    return max(by_steps, int(share_used(train, used) * train.pictures))


# --- raising them ---------------------------------------------------------------------------------


def longer(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The budgets that were raised, as they are said: `train.steps (300 there, 400 now)`.

    Args:
        before: values of a config by dotted key.
        now: the same, later. A key that either lacks is left out.
    """
    return [_said(key, before, now) for key, old, new in _limits(before, now) if new > old]


def shorter(
    before: Mapping[str, Any], now: Mapping[str, Any], used: Mapping[str, float] | None = None
) -> list[str]:
    """The budgets that were lowered; where it is given what was used, those lowered below that."""
    return [
        _said(key, before, now)
        for key, old, new in _limits(before, now)
        if new < old and (used is None or new < used[USED_BY[key]])
    ]


def rising_again(config: Config) -> str:
    """What a raised budget means for what a config computes; empty where it means nothing: where
    all learning rates are constant, a run that goes on is the one that was longer from the start.
    """
    values = flat(config.model_dump(mode="json"))
    names = [
        key
        for key, value in values.items()
        if key.endswith(".schedule")
        and value == "cosine"
        and (config.cost.learned or not key.startswith("cost.encoder."))
    ]
    if not names:
        return ""
    return (
        f"{' and '.join(names)} = cosine fell to zero with the earlier budget, and goes on where"
        " the longer one has it: the learning rate rises once, so this is not the run that was"
        " longer from the start"
    )


def _limits(
    before: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterable[tuple[str, float, float]]:
    for key in USED_BY:
        if key in before and key in now:
            old, new = (inf if at[key] is None else at[key] for at in (before, now))
            yield key, old, new


def _said(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    return f"{key} ({before[key]} there, {now[key]} now)"
