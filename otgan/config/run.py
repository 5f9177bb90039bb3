"""An experiment, resolved."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import Field, model_validator

from otgan.config.data import Batch, Data, Source
from otgan.config.families import FAMILIES, Family, Oracle, Regularized
from otgan.config.foreign import OrForeign
from otgan.config.players import Cost, Generator
from otgan.config.values import Effect, Section, WholePath, Words, marked
from otgan.plain import flat, nested
from otgan.plugins import Kind


class Card(Section):
    """What an experiment is, for the person who chooses one."""

    title: Words = "an experiment of your own"
    paper: Words = ""
    expect: Words = ""
    # what it gave: by which seeds, when, and, where more than its name was typed, by which command
    measured: Words = ""
    cost: Words = ""
    note: Words = ""
    # of values that rules have filled in, why they are what they are
    why: tuple[Words, ...] = Field(default=(), strict=False)


Measures = Literal["fid", "kid", "is", "pr", "wasserstein", "modes", "nearest"]
"""Kinds of scores; see `otgan eval --help`."""
Measure = Annotated[Measures, OrForeign(Kind.MEASURE, frozenset(get_args(Measures)))]
"""One of them, or of another package."""


Loggers = Literal["wandb", "mlflow"]
"""Packages that a run's numbers may also go to; see `otgan run --help`."""


class Train(Section):
    """How long, from which seed, and how often to look.

    A step is one solve of the dual and one update of a player. Of several budgets the one that is
    used up first ends the run, and schedules and pictures go by the share of it that is used.
    `precision` is that of what the players' networks compute; their parameters, what comes out of
    them, costs and duals are float32 whatever it is.
    """

    steps: Annotated[int, Effect.EXTENT] = Field(default=10_000, ge=1)
    generator_steps: Annotated[int | None, Effect.EXTENT] = Field(default=None, ge=1)
    seconds: Annotated[float | None, Effect.EXTENT] = Field(default=None, gt=0)
    seed: int = Field(default=0, ge=0, lt=2**31)
    precision: Literal["float32", "bfloat16"] = "float32"
    loggers: Annotated[tuple[Loggers, ...], Effect.VIEW] = Field(default=(), strict=False)
    log_every: Annotated[int, Effect.VIEW] = Field(default=10, ge=1, le=500)
    pictures: Annotated[int, Effect.VIEW] = Field(default=10, ge=1)
    checkpoint_seconds: Annotated[float, Effect.VIEW] = Field(default=60.0, gt=0)
    eval_every: Annotated[int | None, Effect.VIEW] = Field(default=None, ge=1)
    eval_samples: Annotated[int | None, Effect.SAMPLES] = Field(default=None, ge=2)
    eval_measures: Annotated[tuple[Measure, ...], Effect.VIEW] = Field(default=(), strict=False)


class Config(Section):
    """An experiment, resolved: every value that decides what a run computes."""

    name: Annotated[str, Effect.NAME] = Field(pattern=r"^[A-Za-z0-9][\w.+-]*$")
    card: Annotated[Card, Effect.VIEW] = Card()
    # by which rules values are yet to be filled in that depend on the data
    rules: Annotated[Literal["none", "points", "pictures"], Effect.VIEW] = "none"
    data: Data
    source: Source | None = None
    # an .npz of a source's points x and their true images y: the map is measured by them at the end
    truth: Annotated[WholePath | None, Effect.VIEW] = None
    batch: Batch = Batch()
    cost: Cost = Cost()
    oracle: Family = Regularized()
    generator: Generator = Generator()
    train: Train = Train()

    @property
    def trains_generator(self) -> bool:
        """Whether the generator moves; a source's does not."""
        return self.source is None

    @model_validator(mode="after")
    def _together(self) -> Config:
        mistakes = [*_unfit_networks(self), *_unfit_family(self), *_unfit_source(self)]
        if mistakes:
            raise ValueError("; ".join(mistakes))
        return self

    def json(self) -> str:
        """The record: stable text, read back by `otgan.experiments.resolve`."""
        return json.dumps(self.model_dump(mode="json"), indent=2) + "\n"

    def identity(self) -> dict[str, Any]:
        """What it computes, as plain data: its record without the keys whose fields are marked by
        an effect of another kind.
        """
        return nested(
            {
                key: value
                for key, value in flat(self.model_dump(mode="json")).items()
                if key not in marked(Config)
            }
        )


def _unfit_networks(config: Config) -> list[str]:
    points = config.data.kind in ("grid", "gaussian", "mixture")
    features, encoder = (
        config.cost.features,
        config.cost.encoder.kind if config.cost.encoded else "mlp",
    )
    mistakes = []
    if points and config.cost.network:
        mistakes = [
            f"cost.features = {features!r} needs images; the data are points: use 'pixels',"
            " 'learned' or 'random'"
        ]
    elif points and (config.generator.kind in ("conv", "residual") or encoder != "mlp"):
        kind = "residual" if config.generator.kind == "residual" else "conv"
        mistakes = [f"a {kind} network needs images; the data are points: use kind = 'mlp'"]
    if config.batch.latents == "sobol" and config.generator.latent_dim > 64:
        mistakes.append("batch.latents = 'sobol' needs a latent_dim of at most 64")
    if config.batch.latents == "sobol" and config.generator.noise:
        mistakes.append("batch.latents = 'sobol' has no room for generator.noise: use 'iid'")
    return mistakes


def _unfit_family(config: Config) -> list[str]:
    """A cost that the family cannot serve, and which pairs can be had."""
    oracle, cost = config.oracle, config.cost
    mistakes = oracle.unfit(config.batch)
    if cost.name not in oracle.COSTS:
        others = [family for family, model in _families().items() if cost.name in model.COSTS]
        mistakes.append(
            f"family {oracle.family!r} serves the cost {_or(oracle.COSTS)}; the cost {cost.name!r}"
            f" is served by {_or(others)}"
        )
    if cost.features != "pixels" and not oracle.FEATURES:
        others = [family for family, model in _families().items() if model.FEATURES]
        mistakes.append(
            f"family {oracle.family!r} serves pixels only; cost.features = {cost.features!r} is"
            f" served by {_or(others)}"
        )
    elif cost.learned and not oracle.LEARNED:
        mistakes.append(
            f"family {oracle.family!r} has no loss that an encoder could make larger: cost.features"
            " = 'learned' needs another"
        )
    if isinstance(oracle, Regularized) and cost.windowed and cost.groups == "joint":
        mistakes.append(
            "cost.groups = 'joint' makes one problem of all windows: use 'separate', or leave out"
            " the /"
        )
    if isinstance(oracle, Regularized) and oracle.pulls == "even" and cost.learned:
        mistakes.append(
            "oracle.pulls = 'even' is for costs that nobody trains: leave it out with cost.features"
            " = 'learned'"
        )
    if isinstance(oracle, Regularized) and oracle.warm_start and cost.groups == "separate":
        mistakes.append(
            "oracle.warm_start keeps the potentials of one problem: leave it out, or use"
            " cost.groups = 'joint'"
        )
    if isinstance(oracle, Regularized) and oracle.by_theory and cost.groups == "separate":
        mistakes.append(
            f"oracle.epsilon = {str(oracle.epsilon)!r} goes by a bound for one problem, and"
            " cost.groups = 'separate' makes several: use 'calibrated'"
        )
    return mistakes


def _unfit_source(config: Config) -> list[str]:
    source, identity = config.source, config.generator.kind == "identity"
    mistakes = []
    if source is None:
        if identity:
            mistakes.append(
                "generator.kind = 'identity' hands on the points of a source: give --set"
                " source=FILE.npz"
            )
        if config.truth is not None:
            mistakes.append(
                "truth has the true images of a source's points, and this run maps none: leave it"
                " out, or give --set source=FILE.npz"
            )
        return mistakes
    if not config.oracle.MAP:
        maps = [family for family, model in _families().items() if model.MAP]
        mistakes.append(
            f"with a source nothing is trained but a map, which family {config.oracle.family!r}"
            f" does not yield; {_or(maps)} does"
        )
    if not identity and source.kind != "run":
        mistakes.append("a source of points needs generator.kind = 'identity'")
    if identity and config.batch.latents == "sobol":
        mistakes.append("batch.latents = 'sobol' spreads latents, and a source has none: use 'iid'")
    return mistakes


def _families() -> dict[str, type[Oracle]]:
    return cast(dict[str, type[Oracle]], FAMILIES)


def _or(words: Iterable[str]) -> str:
    return " or ".join(map(repr, words))
