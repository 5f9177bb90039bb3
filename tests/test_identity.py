"""Which keys of a config are no part of what it computes: as their fields say."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

import pytest

from otgan import experiments
from otgan.config import Config, Effect, Section, marked
from otgan.plain import flat

MAP = "convex-map"  # has all keys, truth among them, on data that may stay on the disk
CHANGES = {
    "name": "other",
    "card.title": "other",
    "rules": "points",  # of a run it is always "none"
    "truth": "/T.npz",
    "data.max_memory": "1GB",
    "source.max_memory": "1GB",
    "train.loggers": ["wandb"],
    "train.log_every": 3,
    "train.pictures": 3,
    "train.checkpoint_seconds": 1.0,
    "train.eval_every": 7,
    "train.eval_measures": ["fid"],
    "train.steps": 12,
    "train.seconds": 5.0,
    "train.generator_steps": 9,
    "train.eval_samples": 100,
}


def resolved(changes: Mapping[str, Any] = MappingProxyType({})) -> Config:
    source = {"kind": "own", "path": "/Y.npy"}
    return experiments.resolve(MAP, {"source": source, **changes}, "/X.npy")


@pytest.mark.parametrize("key", CHANGES)
def test_a_marked_key_changes_no_identity(key):
    assert key in marked(Config)
    changed = resolved({key: CHANGES[key]})
    assert changed != resolved()
    assert changed.identity() == resolved().identity()


def test_every_other_key_is_a_part_of_it():
    config = resolved()
    cards = {key for key in marked(Config) if key.startswith("card.")}
    assert marked(Config) == {*CHANGES, *cards}
    assert flat(config.identity()).keys() == flat(config.model_dump(mode="json")).keys() - marked(
        Config
    )


def test_what_may_differ_where_a_run_goes_on():
    config = resolved()
    assert experiments.differences(
        config,
        resolved(CHANGES),
        (Effect.EXTENT, Effect.SAMPLES, Effect.VIEW),
    ) == ["name (convex-map there, other now)"]


class Inner(Section):
    plain: int = 1
    shown: Annotated[int, Effect.VIEW] = 1


class Outer(Section):
    inner: Inner = Inner()
    either: Annotated[Inner | None, Effect.EXTENT] = None
    last: Annotated[int, Effect.NAME] = 1


def test_a_mark_of_a_table_is_one_of_its_keys_unless_they_have_their_own():
    assert marked(Outer) == {"inner.shown", "either.plain", "either.shown", "last"}
    assert marked(Outer, Effect.EXTENT) == {"either.plain"}
    assert marked(Outer, Effect.VIEW, Effect.NAME) == {"inner.shown", "either.shown", "last"}
