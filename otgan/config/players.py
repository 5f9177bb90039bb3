"""The networks that a run trains, and the cost between two points."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from otgan.config.values import Section
from otgan.plain import require_path


class Optimizer(Section):
    """Adam, or plain stochastic gradient descent (`sgd`), on gradients whose norm is cut at `clip`.

    `b1` and `b2` are Adam's alone. The learning rate rises linearly over `warmup` updates; `cosine`
    then lets it fall to zero over the run.
    """

    kind: Literal["adam", "sgd"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0)
    b1: float = Field(default=0.5, ge=0, lt=1)
    b2: float = Field(default=0.99, ge=0, lt=1)
    clip: float | None = Field(default=None, gt=0)
    warmup: int = Field(default=0, ge=0)
    schedule: Literal["constant", "cosine"] = "constant"


class Generator(Section):
    """An MLP of `width` x `depth`, or a DCGAN whose last hidden layer has `width` channels; latents
    are standard normal.

    `residual` is a network of `depth` residual blocks, each of which doubles height and width; the
    last has `width` channels. Latents may go through a mapping of `mapping_depth` dense layers of
    `mapping_width` first; with `mapping_skip` they go on beside what these make of them.
    Every hidden layer is normalized by `normalization`; `adaptive` is layer normalization whose
    scale and shift are linear in what comes out of the mapping. Kernels start normal, with standard
    deviation `initial_sd` (but those of scale and shift, which start at zero), or with He's where
    that is not given; with `smooth` those that double a picture start by interpolating. With
    `noise` every grid on the way to a picture has a normal number for each place as well.
    `identity` hands on the points of `source` as they are: nothing is trained but the dual.
    """

    kind: Literal["mlp", "conv", "residual", "identity"] = "mlp"
    latent_dim: int = Field(default=2, ge=1)
    width: int = Field(default=256, ge=1)
    depth: int = Field(default=3, ge=1)
    mapping_width: int = Field(default=512, ge=1)
    mapping_depth: int = Field(default=0, ge=0)
    mapping_skip: bool = False
    normalization: Literal["none", "layer", "adaptive"] = "none"
    initial_sd: float | None = Field(default=None, gt=0)
    smooth: bool = False
    noise: bool = False
    ema: float = Field(default=0.998, ge=0, lt=1)
    optimizer: Optimizer = Optimizer()

    @model_validator(mode="after")
    def _grids(self) -> Generator:
        if self.kind in ("conv", "residual"):
            return self
        for name, what in (
            ("smooth", "is how doublings of pictures start"),
            ("noise", "is of the grids on the way to a picture"),
        ):
            if getattr(self, name):
                raise ValueError(
                    f"{name} {what}, and the kind {self.kind!r} has none: set it to false, or use"
                    " 'conv' or 'residual'"
                )
        return self


class Encoder(Section):
    """Features on the unit sphere in which the cost is measured.

    A learned one is trained to make the loss larger: after every `generator_updates` updates of the
    generator come `encoder_updates` of it. The kinds that are named after data are those of the
    classifiers that the package carries; their sizes are what they are.
    """

    kind: Literal[
        "mlp", "conv", "mnist-lenet", "mnist-allconv", "cifar10-resnet", "cifar10-allconv"
    ] = "conv"
    features: int = Field(default=64, ge=2)
    width: int = Field(default=64, ge=1)
    depth: int = Field(default=2, ge=1)
    normalization: Literal["none", "layer", "weight"] = "none"
    generator_updates: int = Field(default=3, ge=1)
    encoder_updates: int = Field(default=1, ge=1)
    optimizer: Optimizer = Optimizer()


class Cost(Section):
    """c(x, y) between two points: of their pixels (or coordinates), or of features.

    `features` is "pixels"; "learned", by the encoder that is trained here; "random", by one that
    stays as it is drawn, the same in every run; the name of a classifier that the package carries;
    or the folder of a run, whose encoder is taken as it was when this run began.

    Or it names layers of a frozen network, as in "mnist-lenet:all", "random:conv_1+conv_2@2" or
    "pictures.safetensors:pixels+all". Each is a group of features, divided by the root of its mean
    squared distance between training examples. `@2` averages a layer's map over 2 x 2 places first,
    `second/7` cuts it into 7 x 7 windows, `second/7-mean` takes from each its mean over its places,
    `-shifted` at the end moves them by half a window, `-channels` makes them of each color, or each
    channel that the network reads by itself; `pixels` are the examples themselves. A file, or a
    network of published weights, without layers stands for all. The cost is the mean over the
    groups: of one transport problem (`joint`), or of one for each group or window (`separate`).
    What is seen of the training examples is computed once; `kept` is how it is held, and `none`
    computes it anew in every step.
    """

    TRAINED: ClassVar = ("mnist-lenet", "mnist-allconv", "cifar10-resnet", "cifar10-allconv")
    # networks whose weights are fetched or imported
    PUBLISHED: ClassVar = ("inception", "dinov2-s", "dinov2-b", "dinov2-l", "resnet50")
    FEATURES: ClassVar = ("pixels", "learned", "random", *TRAINED)  # those that have a name

    name: Literal["l1", "l2", "squared_l2", "cosine"] = "squared_l2"
    features: str = "pixels"
    groups: Literal["joint", "separate"] = "joint"
    kept: Literal["float32", "float16", "none"] = "float32"
    encoder: Encoder = Encoder()

    @field_validator("features")
    @classmethod
    def _of_a_network_or_a_path(cls, features: str) -> str:
        require_path(features.rpartition(":")[0] or features)
        return features

    @property
    def layered(self) -> bool:
        """Whether it is measured on layers of a frozen network."""
        return bool(self.layers)

    @property
    def network(self) -> str | None:
        """The frozen network, by name or file, whose features it is measured on, if it is."""
        name = self.features.rpartition(":")[0] or self.features
        return name if self.layered or name in self.TRAINED else None

    @property
    def layers(self) -> tuple[str, ...]:
        """The groups that are asked for, as they are written."""
        network, colon, layers = self.features.rpartition(":")
        if not colon:
            return ("all",) if layers in self.PUBLISHED or layers.endswith(".safetensors") else ()
        return tuple(layers.split("+")) if network else ()

    @property
    def windowed(self) -> bool:
        """Whether a layer's map is cut into windows."""
        return any("/" in layer for layer in self.layers)

    @property
    def encoded(self) -> bool:
        """Whether it is measured on the features of an encoder of its own."""
        return self.features != "pixels" and not self.layered

    @property
    def learned(self) -> bool:
        """Whether the encoder is trained."""
        return self.features == "learned"

    @property
    def pretrained_run(self) -> str | None:
        """The run folder whose encoder is taken, if one is."""
        return None if self.features in self.FEATURES or self.layered else self.features
