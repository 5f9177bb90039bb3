"""Which examples: to learn from, and, for maps between two given distributions, to start from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from otgan.config.foreign import OrForeign, chosen_from
from otgan.config.values import Effect, MemorySize, PathText, Section
from otgan.plain import whole_path
from otgan.plugins import Kind

Memory = Annotated[MemorySize | None, Effect.VIEW]
"""That the examples may take: more of them stay in a file. It changes no number of a run."""


class Grid(Section):
    """Equal Gaussians on a square grid in the plane, centered at the origin.

    The held-out set has equal counts per mode.
    """

    kind: Literal["grid"] = "grid"
    side: int = Field(default=5, ge=1, le=50)
    spacing: float = Field(default=2.0, gt=0)
    sd: float = Field(default=0.1, gt=0)
    size: int = Field(default=20_000, ge=2_000)


class Images(Section):
    """MNIST or CIFAR-10: from a prepared TFDS folder, or (MNIST alone) from the 5,000 digits that
    the package carries.
    """

    kind: Literal["mnist", "cifar10"]
    source: Literal["tfds", "sample"] = "tfds"
    max_memory: Memory = None

    @model_validator(mode="after")
    def _sampled(self) -> Images:
        if self.kind == "cifar10" and self.source == "sample":
            raise ValueError(
                "the package carries a sample of MNIST alone; CIFAR-10 comes from TFDS"
            )
        return self


class Stacked(Section):
    """Three digits as the colors of one 32 x 32 picture: 1,000 modes."""

    kind: Literal["stacked-mnist"] = "stacked-mnist"
    source: Literal["tfds", "sample"] = "tfds"
    size: int = Field(default=50_000, ge=1_000)


class UserData(Section):
    """The user's points or pictures: an array (n d, or n h w c) in an `.npz` or `.npy`, the numeric
    columns of a `.csv`, `.tsv` or `.parquet`, a folder of pictures, or a table that Hugging Face's
    `Dataset.save_to_disk` wrote, of numbers or of pictures.

    `columns` are those of points that are taken, by default all. `label` is a column of a table, or
    an array of an `.npz`, that says of which kind an example is. Of pictures, `resize` is the
    shorter side in pixels that they are scaled to, `crop` the part that is kept, and `channels` how
    many there are, by default one where all pictures are gray. Examples that take more than
    `max_memory`, such as 8GB, stay in their file; by default a quarter of the memory that is free.
    """

    kind: Literal["own"] = "own"
    path: PathText
    held_out: float = Field(default=0.1, gt=0, lt=1)
    columns: tuple[str, ...] = Field(default=(), strict=False)
    label: str | None = None
    resize: int | None = Field(default=None, ge=8, le=512)
    crop: Literal["none", "center"] = "none"
    channels: Literal["auto", "gray", "rgb"] = "auto"
    max_memory: Memory = None

    @field_validator("columns")
    @classmethod
    def _each_once(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(columns)) < len(columns):
            raise ValueError("name each column once")
        return columns

    @model_validator(mode="after")
    def _label_apart(self) -> UserData:
        if self.label in self.columns:
            raise ValueError(f"{self.label} is the label: leave it out of columns")
        return self


class Gaussian(Section):
    """A Gaussian whose mean and covariance are drawn from `seed`: the map between two of them is
    known.
    """

    kind: Literal["gaussian"] = "gaussian"
    dim: int = Field(default=2, ge=1)
    seed: int = Field(default=0, ge=0)
    size: int = Field(default=20_000, ge=2)


class Mixture(Section):
    """Equal Gaussians at places drawn from `seed`.

    `warped`, they are pushed through the gradient of a convex function: a known map.
    """

    kind: Literal["mixture"] = "mixture"
    dim: int = Field(default=2, ge=1)
    modes: int = Field(default=5, ge=1)
    sd: float = Field(default=0.5, gt=0)
    warped: bool = False
    seed: int = Field(default=0, ge=0)
    size: int = Field(default=20_000, ge=2)


class PretrainedRun(Section):
    """The generator of another run, as it was when this one began: its averaged parameters are
    copied, and do not move.
    """

    kind: Literal["run"] = "run"
    path: PathText


def _from_path(raw: Any) -> Any:
    """A bare path stands for the user's own points."""
    if not isinstance(raw, str):
        return raw
    return {"kind": "own", "path": whole_path(raw)}


class Batch(Section):
    """How a step draws its two clouds: `size` generated examples, and `reals` real ones, by default
    as many.

    `stratified` reals and `sobol` latents are spread evenly, which helps only in low dimension.
    """

    size: int = Field(default=256, ge=2)
    reals: int | None = Field(default=None, ge=2)
    draw: Literal["iid", "stratified"] = "iid"
    latents: Literal["iid", "sobol"] = "iid"

    @model_validator(mode="before")
    @classmethod
    def _of_old_records(cls, raw: Any) -> Any:
        """Records from before real examples had a number of their own say in `reals` how they are
        drawn.
        """
        if isinstance(raw, dict) and raw.get("reals") in ("iid", "stratified"):
            return {**raw, "reals": None, "draw": raw["reals"]}
        return raw

    @property
    def real(self) -> int:
        """How many real examples a step draws."""
        return self.reals or self.size


DataSets = Grid | Images | Stacked | UserData | Gaussian | Mixture
DATA_SETS = chosen_from(DataSets, "kind")
"""The models of otgan's own, by name."""
Data = Annotated[
    DataSets, Field(discriminator="kind"), OrForeign(Kind.DATA, frozenset(DATA_SETS), "kind")
]
Source = Annotated[
    Grid | UserData | Gaussian | Mixture | PretrainedRun,
    Field(discriminator="kind"),
    BeforeValidator(_from_path),
]
