"""What a run is: a tree of frozen models that holds every default and every check, once.

An experiment is a TOML file (`experiments/NAME.toml`); `extends` derives it from another. The resolved tree, as JSON, is the record
that a run folder keeps, and either form repeats the run. Nothing here imports JAX.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator


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


class Card(Section):
    """What an experiment is, for the person who chooses one."""

    title: str = "an experiment of your own"
    paper: str = ""
    expect: str = ""
    cost: str = ""
    note: str = ""


# --- data -----------------------------------------------------------------------------------------------------------------------------


class Grid(Section):
    """Equal Gaussians on a square grid in the plane, centred at the origin; the held-out set has equal counts per mode."""

    kind: Literal["grid"] = "grid"
    side: int = Field(default=5, ge=1, le=50)
    spacing: float = Field(default=2.0, gt=0)
    sd: float = Field(default=0.1, gt=0)
    size: int = Field(default=20_000, ge=2_000)


class Images(Section):
    """MNIST or CIFAR-10: from a prepared TFDS folder, or (MNIST alone) from the 5,000 digits that the package carries."""

    kind: Literal["mnist", "cifar10"]
    source: Literal["tfds", "sample"] = "tfds"

    @model_validator(mode="after")
    def _sampled(self) -> Images:
        if self.kind == "cifar10" and self.source == "sample":
            raise ValueError("the package carries a sample of MNIST alone; CIFAR-10 comes from TFDS")
        return self


class Stacked(Section):
    """Three digits as the colours of one 32 x 32 picture: 1,000 modes."""

    kind: Literal["stacked-mnist"] = "stacked-mnist"
    source: Literal["tfds", "sample"] = "tfds"
    size: int = Field(default=50_000, ge=1_000)


class Own(Section):
    """The user's points or pictures: an `.npz` with one array (n d, or n h w c), or a folder of pictures of one size."""

    kind: Literal["own"] = "own"
    path: str
    held_out: float = Field(default=0.1, gt=0, lt=1)


Data = Annotated[Grid | Images | Stacked | Own, Field(discriminator="kind")]


class Batch(Section):
    """How a step draws its two clouds. `stratified` and `sobol` spread them evenly and help only in low dimension."""

    size: int = Field(default=256, ge=2)
    reals: Literal["iid", "stratified"] = "iid"
    latents: Literal["iid", "sobol"] = "iid"


# --- players --------------------------------------------------------------------------------------------------------------------------


class Optimizer(Section):
    """Adam, on gradients whose norm is cut at `clip`.

    The learning rate rises linearly over `warmup` updates; `cosine` then lets it fall to zero over the run.
    """

    learning_rate: float = Field(default=1e-3, gt=0)
    b1: float = Field(default=0.5, ge=0, lt=1)
    b2: float = Field(default=0.99, ge=0, lt=1)
    clip: float | None = Field(default=None, gt=0)
    warmup: int = Field(default=0, ge=0)
    schedule: Literal["constant", "cosine"] = "constant"


class Generator(Section):
    """An MLP of `width` x `depth`, or a DCGAN whose last hidden layer has `width` channels; latents are standard normal."""

    kind: Literal["mlp", "conv"] = "mlp"
    latent_dim: int = Field(default=2, ge=1)
    width: int = Field(default=256, ge=1)
    depth: int = Field(default=3, ge=1)
    normalization: Literal["none", "layer"] = "none"
    ema: float = Field(default=0.998, ge=0, lt=1)
    optimizer: Optimizer = Optimizer()


class Encoder(Section):
    """Features on the unit sphere in which the cost is measured, trained to make the loss larger.

    After every `generator_updates` updates of the generator come `encoder_updates` of the encoder.
    """

    kind: Literal["mlp", "conv"] = "conv"
    features: int = Field(default=64, ge=2)
    width: int = Field(default=64, ge=1)
    depth: int = Field(default=2, ge=1)
    normalization: Literal["none", "layer", "weight"] = "none"
    generator_updates: int = Field(default=3, ge=1)
    encoder_updates: int = Field(default=1, ge=1)
    optimizer: Optimizer = Optimizer()


class Cost(Section):
    """c(x, y) between two points, on pixels or, with an encoder, on learned features."""

    name: Literal["l1", "squared_l2", "cosine"] = "squared_l2"
    encoder: Encoder | None = None


# --- the dual -------------------------------------------------------------------------------------------------------------------------


class Regularized(Section):
    """Sanjabi et al. 2018: regularised optimal transport of a batch, solved until its certified gap is at most `epsilon`.

    `regot` is the plain distance d (Algorithm 1), `sinkhorn` the debiased 2 d(p,q) - d(p,p) - d(q,q), not halved (Algorithm 2).
    """

    family: Literal["regularized"] = "regularized"
    loss: Literal["regot", "sinkhorn"] = "sinkhorn"
    regularizer: Literal["kl", "l2"] = "kl"
    lam: FiniteAmount = Amount(0.05, relative=True)
    epsilon: FiniteAmount = Amount(0.01, relative=True)
    tau: AmountOrInf = Amount(math.inf)
    anneal: float = Field(default=4.0, ge=1, le=10)
    iterations_per_check: int | None = Field(default=None, ge=1)
    max_iterations: int = Field(default=2_000, ge=1)
    on_budget: Literal["accept", "stop"] = "accept"

    @model_validator(mode="after")
    def _relaxed(self) -> Regularized:
        if self.regularizer == "l2" and self.tau.finite:
            raise ValueError("a finite tau relaxes the marginals of the kl regularizer only; with l2 leave tau at inf")
        return self

    def check_every(self) -> int:
        """Iterations between two certificates: 10 of Sinkhorn's, 2 of Newton's, unless stated."""
        return self.iterations_per_check or {"kl": 10, "l2": 2}[self.regularizer]


# --- the run --------------------------------------------------------------------------------------------------------------------------


class Train(Section):
    """How long, from which seed, and how often to look. A step is one solve of the dual and one update of a player."""

    steps: int = Field(default=10_000, ge=1)
    seconds: float | None = Field(default=None, gt=0)
    seed: int = Field(default=0, ge=0, lt=2**31)
    log_every: int = Field(default=10, ge=1, le=500)
    pictures: int = Field(default=10, ge=1)
    checkpoint_seconds: float = Field(default=60.0, gt=0)


class Config(Section):
    """An experiment, resolved: every value that decides what a run computes."""

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.+-]*$")
    card: Card = Card()
    data: Data
    batch: Batch = Batch()
    cost: Cost = Cost()
    oracle: Regularized = Regularized()
    generator: Generator = Generator()
    train: Train = Train()

    @model_validator(mode="after")
    def _together(self) -> Config:
        mistakes = []
        points = self.data.kind == "grid"
        if points and "conv" in (self.generator.kind, self.cost.encoder and self.cost.encoder.kind):
            mistakes.append("a conv network needs images; the grid is points: use kind = 'mlp'")
        if self.batch.latents == "sobol" and self.generator.latent_dim > 64:
            mistakes.append("batch.latents = 'sobol' needs a latent_dim of at most 64")
        if mistakes:
            raise ValueError("; ".join(mistakes))
        return self

    def json(self) -> str:
        """The record: stable text, read back by `otgan.experiments.resolve`."""
        return json.dumps(self.model_dump(mode="json"), indent=2) + "\n"


CADENCE = {"seconds", "log_every", "pictures", "checkpoint_seconds"}  # keys of [train] that change what is seen, not what is computed
