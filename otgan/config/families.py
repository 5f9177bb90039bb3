"""The families: how the dual between generated and real points is solved, and to what accuracy.

One class each.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PositiveFloat, field_validator, model_validator

from otgan.config.data import Batch
from otgan.config.foreign import OrForeign, chosen_from
from otgan.config.players import Optimizer
from otgan.config.values import (
    RULES,
    Accuracy,
    Adaptive,
    Amount,
    AmountOrInf,
    FiniteAmount,
    MemorySize,
    Section,
)
from otgan.plugins import Kind


class Oracle(Section):
    """What every family has: what becomes of a step whose dual is not accurate when its budget is
    spent; and what it can serve.
    """

    COSTS: ClassVar[tuple[str, ...]]  # names of the costs that it can serve
    FEATURES: ClassVar[bool] = False  # whether on an encoder's features too
    # whether real and generated examples of a batch may differ in number
    UNEQUAL: ClassVar[bool] = False
    # if so, whether also on one that is trained to make the loss larger
    LEARNED: ClassVar[bool] = True
    # whether it yields a map from generated points to data, so that it needs no generator of its
    # own
    MAP: ClassVar[bool] = False
    # what it is that reaches epsilon, in the words of a reader: "... within epsilon 99.5%"
    REACHING: ClassVar[str] = "solved duals"
    # whether its `epsilon` is an `Accuracy`, which each step may set itself
    ADAPTS: ClassVar[bool] = False

    on_budget: Literal["accept", "stop"] = "accept"

    @field_validator("epsilon", mode="before", check_fields=False)
    @classmethod
    def _a_number_unless_it_adapts(cls, raw: Any) -> Any:
        if cls.ADAPTS or not isinstance(raw, Adaptive | str):
            return raw
        if str(raw).partition(":")[0] in RULES:
            raise ValueError(
                f"{raw} sets the gap at which a plan's solve ends, by what it does to the"
                " generator's gradient; solves of this family do not end by such a gap: give a"
                " number"
            )
        return raw

    def unfit(self, batch: Batch) -> list[str]:
        """What the family cannot do with batches that are drawn so, in sentences."""
        if self.UNEQUAL or batch.real == batch.size:
            return []
        return [
            "this family compares as many real examples as generated ones: leave out batch.reals ="
            f" {batch.reals}"
        ]


class Regularized(Oracle):
    """Sanjabi et al. 2018: regularized optimal transport of a batch, solved until its certified gap
    is at most `epsilon`.

    `regot` is the plain distance d (Algorithm 1), `sinkhorn` the debiased 2 d(p,q) - d(p,p) -
    d(q,q), not halved (Algorithm 2), and `energy` the minibatch energy distance over two
    independent halves of the batch (OT-GAN: Salimans et al. 2018).

    `self_term` is what d(q,q) of the sinkhorn loss compares: the batch with itself, at no cost, or
    with an independent second one, which is dragged along between modes as d(p,q) is, so that the
    two cancel in the mean. `pulls` is how strongly the problems of several groups or windows pull:
    as their costs say (`plain`), or all groups, and all windows of a group, alike (`even`), each
    gradient in the features divided by its size. Every step takes `lam` times one of `lam_scales`,
    drawn at random: in the mean the loss is that of all of them, of which large ones see the whole
    and small ones what is near. `warm_start` keeps the potential of every training example, from
    which its next problem starts: it changes no accuracy, only iterations. `parts` cuts a batch
    into so many, of which each has problems of its own; the loss is the mean over them. An
    `epsilon` of `adaptive` or `calibrated` is each step's own: see `Adaptive`. `max_memory` is what
    the transport may hold at once, as 4GB: where matrices of all pairs take more, costs are made
    anew in blocks whenever they are looked at, to the same accuracy.
    """

    COSTS = ("l1", "l2", "squared_l2", "cosine")
    FEATURES = True
    UNEQUAL = True
    ADAPTS = True

    family: Literal["regularized"] = "regularized"
    loss: Literal["regot", "sinkhorn", "energy"] = "sinkhorn"
    self_term: Literal["same", "independent"] = "same"
    pulls: Literal["plain", "even"] = "plain"
    regularizer: Literal["kl", "l2"] = "kl"
    lam: FiniteAmount = Amount(0.05, relative=True)
    lam_scales: tuple[PositiveFloat, ...] = Field(default=(1.0,), min_length=1, strict=False)
    epsilon: Accuracy = Amount(0.01, relative=True)
    tau: AmountOrInf = Amount(math.inf)
    warm_start: bool = False
    parts: int = Field(default=1, ge=1)
    anneal: float = Field(default=8.0, ge=1, le=10)
    iterations_per_check: int | None = Field(default=None, ge=1)
    max_iterations: int = Field(default=2_000, ge=1)
    max_memory: MemorySize | None = None

    @model_validator(mode="after")
    def _within_memory(self) -> Regularized:
        if self.max_memory and self.regularizer == "l2":
            raise ValueError(
                "max_memory makes the costs of the kl regularizer in blocks: leave it out with l2"
            )
        if self.max_memory and self.by_theory:
            raise ValueError(
                f"epsilon = {str(self.epsilon)!r} looks at all pairs of a batch at once: use"
                " 'calibrated', or leave out max_memory"
            )
        return self

    @model_validator(mode="after")
    def _relaxed(self) -> Regularized:
        if self.regularizer == "l2" and self.tau.finite:
            raise ValueError(
                "a finite tau relaxes the marginals of the kl regularizer only; with l2 leave tau"
                " at inf"
            )
        if self.warm_start and (self.regularizer == "l2" or self.loss == "energy"):
            raise ValueError(
                "warm_start keeps the potentials of d(p,q) with the kl regularizer: leave it out"
                " with l2 and with the loss energy"
            )
        if self.warm_start and self.parts > 1:
            raise ValueError(
                "warm_start keeps the potentials of one problem on the whole batch: leave it out,"
                f" or parts = {self.parts}"
            )
        if self.self_term == "independent" and self.loss != "sinkhorn":
            why = {"regot": "has no self term", "energy": "has independent ones by its making"}[
                self.loss
            ]
            raise ValueError(f"self_term is the sinkhorn loss's; the loss {self.loss!r} {why}")
        if self.pulls == "even" and self.by_theory:
            raise ValueError(
                f"epsilon = {str(self.epsilon)!r} goes by a bound on plain pulls, which says"
                " nothing of even ones: use 'calibrated'"
            )
        return self

    @property
    def by_theory(self) -> bool:
        """Whether epsilon goes by the theory's bound on the gradient's error."""
        return isinstance(self.epsilon, Adaptive) and self.epsilon.rule == "adaptive"

    def unfit(self, batch: Batch) -> list[str]:
        """Parts are equally large, with two examples of both sides at least, and each is like the
        whole. The energy distance needs two independent halves: those of a stratified batch are of
        two regions of the data.
        """
        numbers = {"batch.size": batch.size, "batch.reals": batch.real}
        uneven = [
            f"oracle.parts = {self.parts} cuts the batch: {key} must be a multiple of it, and twice"
            f" it at least, not {n}"
            for key, n in numbers.items()
            if n % self.parts or n < 2 * self.parts
        ][:1]
        regions = (
            f"oracle.parts = {self.parts} cuts the batch, and parts of a stratified one are of"
            " different regions of the data: use batch.draw = 'iid'"
        )
        mixed = self.parts == 1 or batch.draw == "iid"
        halves = self._unfit_halves(batch, numbers) if self.loss == "energy" else []
        return [*uneven, *([] if mixed else [regions]), *halves]

    def _unfit_halves(self, batch: Batch, numbers: dict[str, int]) -> list[str]:
        halves = 2 * self.parts
        odd = [
            f"oracle.loss = 'energy' halves every part: {key} must be a multiple of {halves},"
            f" not {n}"
            if self.parts > 1
            else f"oracle.loss = 'energy' halves the batch: {key} must be even, not {n}"
            for key, n in numbers.items()
            if n % halves
        ][:1]
        spread = [
            f"batch.{side} = {how!r}"
            for side, how in (("draw", batch.draw), ("latents", batch.latents))
            if how != "iid"
        ]
        needs = (
            "oracle.loss = 'energy' needs independent halves of a batch, not"
            f" {' and '.join(spread)}: use 'iid'"
        )
        return [*odd, *([needs] if spread else [])]

    def check_every(self) -> int:
        """Iterations between two certificates: 10 of Sinkhorn's, 2 of Newton's, unless stated."""
        return self.iterations_per_check or {"kl": 10, "l2": 2}[self.regularizer]


class Semidiscrete(Oracle):
    """Chen et al. 2019: one potential per training point (OTS), then regression of the generator on
    what it assigns (FIT).

    A step of a run is a chunk of OTS steps. A round ends when the stop rule is met by the last
    `memory` assignments, or with its budget. The rule is looked at every `check_every` steps:
    `band`, the authors', asks every bin of the histogram over the training points' indices to lie
    between `band_low` and `band_high` of the mean bin; `chi_square` asks the points' masses to be
    that even; `budget` asks nothing. Then come `fit_updates` updates of the generator on batches
    out of the memory.

    The `feedback` schedule makes every point dearer by `increment` when it is hit, less and less
    during a round and, by the root of their number, from round to round. Before that come
    `smoothing_steps` steps on the semi-dual smoothed by an entropy that falls from `smoothing` to
    `smoothing_end`, both divided by the number of the round. A batch's masses are noisy, so that
    such a step goes a part of the way, from `smoothing_rate` to `smoothing_rate_end`: the less of
    it, the more batches it averages over. `adam` is the authors' schedule.
    """

    COSTS = ("l1", "squared_l2")
    REACHING = "balances of mass (not the cost)"

    family: Literal["semidiscrete"] = "semidiscrete"
    regression: Literal["l1", "squared_l2"] | None = None
    start: Literal["nearest", "inner_product"] = "nearest"
    schedule: Literal["feedback", "adam"] = "feedback"
    smoothing_steps: int = Field(default=64, ge=0)
    smoothing: FiniteAmount = Amount(0.12, relative=True)
    smoothing_end: FiniteAmount = Amount(0.01, relative=True)
    smoothing_rate: float = Field(default=0.5, gt=0, le=1)
    smoothing_rate_end: float = Field(default=0.5, gt=0, le=1)
    increment: FiniteAmount = Amount(0.01, relative=True)
    optimizer: Optimizer = Optimizer(learning_rate=0.1, b1=0.9, b2=0.999)
    ots_batch: int = Field(default=64, ge=1)
    chunk: int = Field(default=64, ge=1)
    memory: int = Field(default=1_024, ge=1)
    check_every: int = Field(default=256, ge=1)
    max_ots_steps: int = Field(default=20_480, ge=1)
    stop: Literal["band", "chi_square", "budget"] = "band"
    band_low: float = Field(default=200 / 256, ge=0, lt=1)
    band_high: float = Field(default=320 / 256, gt=1)
    bins: int = Field(default=1_000, ge=1)
    epsilon: float = Field(default=0.1, gt=0)
    fit_updates: int = Field(default=1_000, ge=1)

    @model_validator(mode="after")
    def _whole_chunks(self) -> Semidiscrete:
        smoothing = self.smoothing_steps if self.schedule == "feedback" else 0
        steps = {
            "check_every": self.check_every,
            "max_ots_steps": self.max_ots_steps,
            "smoothing_steps": smoothing,
            "memory": self.memory,
        }
        broken = [f"{name} = {count}" for name, count in steps.items() if count % self.chunk]
        if broken:
            raise ValueError(
                f"steps go by chunks of {self.chunk}, which must divide {' and '.join(broken)}"
            )
        if (self.schedule, self.optimizer.kind) == ("adam", "sgd"):
            raise ValueError("the authors' schedule is Adam: leave optimizer.kind as it is")
        if self.max_ots_steps < self.memory:
            raise ValueError(
                f"max_ots_steps = {self.max_ots_steps} must fill the memory of {self.memory}"
                " batches"
            )
        return self

    def unfit(self, batch: Batch) -> list[str]:
        """FIT's batches are parts of those of OTS."""
        sentence = (
            f"batch.size = {batch.size}, of FIT, must divide oracle.ots_batch = {self.ots_batch},"
            " which it cuts into its own"
        )
        return [*super().unfit(batch), *([sentence] if self.ots_batch % batch.size else [])]


class Convex(Oracle):
    """Taghvaei and Jalali 2019: W2 through a convex potential, its conjugate solved point by point
    until its certified error is `epsilon`.

    `width` and `depth` are the icnn's; `pieces` and `temperature` (of the rounded maximum) those of
    max_affine and plq. Potentials see points at mean 0 and variance 1. After `dual_steps` steps of
    the potential come `generator_updates`. `ema` averages the potential of the map that users see;
    `composite` puts that map behind the generator.
    """

    COSTS = ("squared_l2",)
    MAP = True
    REACHING = "inner conjugate solves (not the map)"

    family: Literal["convex"] = "convex"
    potential: Literal["icnn", "quadratic", "max_affine", "plq"] = "icnn"
    width: int = Field(default=64, ge=1)
    depth: int = Field(default=3, ge=1)
    pieces: int = Field(default=64, ge=1)
    temperature: float = Field(default=0.01, gt=0)
    strong_convexity: float = Field(default=0.05, ge=0)
    optimizer: Optimizer = Optimizer(learning_rate=2e-3, schedule="cosine")
    ema: float = Field(default=0.99, ge=0, lt=1)
    dual_steps: int = Field(default=5, ge=1)
    generator_updates: int = Field(default=5, ge=1)
    max_conjugate_iterations: int = Field(default=50, ge=1)
    epsilon: FiniteAmount = Amount(0.001, relative=True)
    composite: bool = False

    @model_validator(mode="after")
    def _strongly_convex(self) -> Convex:
        if self.strong_convexity == 0 and self.potential != "icnn":
            raise ValueError(
                f"potential {self.potential!r} needs strong_convexity above 0: without it the"
                " conjugate may be infinite"
            )
        return self


class Potential(Section):
    """A network with one number for each point, an encoder's without a normalization: a dual
    potential, or a critic.
    """

    kind: Literal["mlp", "conv"] = "mlp"
    width: int = Field(default=128, ge=1)
    depth: int = Field(default=3, ge=1)


class Neural(Oracle):
    """Sanjabi et al. 2018 in practice: the dual potentials are networks, trained by some
    warm-started steps for each of the generator's.

    phi, of the real points, always is. psi, of the generated ones, is a second network up to the
    best constant, or the transform of phi over the batch. Every `estimate_every` solves the gap is
    estimated on a fresh batch, whose own dual takes up to `max_iterations`.
    """

    COSTS = ("l1", "l2", "squared_l2", "cosine")
    REACHING = "networks' duals"

    family: Literal["neural"] = "neural"
    regularizer: Literal["kl", "l2"] = "kl"
    psi: Literal["network", "transform"] = "network"
    lam: FiniteAmount = Amount(0.05, relative=True)
    epsilon: FiniteAmount = Amount(0.1, relative=True)
    potential: Potential = Potential()
    optimizer: Optimizer = Optimizer()
    dual_steps: int = Field(default=5, ge=1)
    estimate_every: int = Field(default=50, ge=1)
    max_iterations: int = Field(default=2_000, ge=1)


class Critic(Oracle):
    """WGAN-GP (Gulrajani et al. 2017): W1 through a critic whose gradient is held near length 1 by
    a penalty.

    `epsilon` is a level for the root mean square of that length less 1: a residual, no accuracy of
    the dual.
    """

    COSTS = ("l2",)
    REACHING = "critics' slopes (not their value)"

    family: Literal["critic"] = "critic"
    penalty: float = Field(default=10.0, gt=0)
    epsilon: float = Field(default=0.1, gt=0)
    critic: Potential = Potential()
    optimizer: Optimizer = Optimizer(learning_rate=1e-4, b2=0.9)
    critic_steps: int = Field(default=5, ge=1)


class Drifting(Oracle):
    """Deng et al. 2026: generated points follow a kernel's field towards real ones and away from
    each other.

    `temperatures` are widths of the kernel exp(-distance / T), in units of the mean distance.
    `epsilon` is a level for the root mean square of the field: a residual, no accuracy of a dual,
    for there is none.
    """

    COSTS = ("l2",)
    FEATURES = True
    UNEQUAL = True
    LEARNED = False
    REACHING = "fields (not the mass)"

    family: Literal["drifting"] = "drifting"
    temperatures: tuple[float, ...] = Field(default=(0.02, 0.05, 0.2), min_length=1, strict=False)
    epsilon: float = Field(default=0.01, gt=0)

    @model_validator(mode="after")
    def _widths(self) -> Drifting:
        if min(self.temperatures) <= 0 or len(set(self.temperatures)) < len(self.temperatures):
            raise ValueError(
                "temperatures must be above 0 and differ, not"
                f" {', '.join(map(str, self.temperatures))}"
            )
        return self


def _regularized(raw: Any) -> Any:
    return {"family": "regularized", **raw} if isinstance(raw, dict) else raw


Families = Regularized | Semidiscrete | Convex | Neural | Critic | Drifting
FAMILIES = chosen_from(Families, "family")
"""The models of otgan's own, by name."""
FOREIGN = OrForeign(Kind.FAMILY, frozenset(FAMILIES), "family", Oracle)
Family = Annotated[Families, Field(discriminator="family"), BeforeValidator(_regularized), FOREIGN]
