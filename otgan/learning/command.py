"""`otgan features train`: what is asked for is checked before anything is read, and nothing is
written but a whole file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import otgan
from otgan import config, signals, weights
from otgan.batches import as_bytes, as_floats
from otgan.data import Dataset, load
from otgan.errors import UserError
from otgan.learning import Method
from otgan.learning.training import ShowTraining, TrainingProgress, train
from otgan.models.encoders import Encoder, shrink, shrinking, sizes

NAMED = ("sample", "mnist", "cifar10")
SUFFIX = ".safetensors"
SECONDS = 120.0
CHUNK = 500


@dataclass(frozen=True)
class Order:
    """What is to be trained.

    Attributes:
        data: a folder, a file of an array, `mnist`, `cifar10` or `sample`.
        output: the file of weights to write.
        method: what the encoder is asked to do.
        steps: at most so many; without them and seconds, two minutes.
        seconds: at most so long.
        seed: of everything random.
        data_dir: the TFDS folder.
        preparation: `resize`, `crop` and `channels` of `otgan.config.UserData`, of pictures of a
            user's own.
    """

    data: str
    output: Path
    method: Method = "variance"
    steps: int | None = None
    seconds: float | None = None
    seed: int = 0
    data_dir: Path | None = None
    preparation: Mapping[str, Any] = field(default_factory=dict)


class Learned(NamedTuple):
    """What came of it."""

    digest: str | None  # of the file; None if it was stopped before the first step
    progress: TrainingProgress
    stopped: bool
    notes: tuple[str, ...] = ()  # on how the pictures were read


def learn(order: Order, show: ShowTraining, say: Callable[[str], None]) -> Learned:
    """Train an encoder and write it.

    Args:
        order: what is asked for.
        show: told of every step.
        say: told of what is done besides.

    Raises:
        UserError: data or output are unfit, or the loss is not finite. Nothing is written then.
    """
    require_writable(order.output)
    say("reading the pictures")
    data = _load(order)
    encoder, pictures = _prepared(data)
    seconds = SECONDS if order.steps is None and order.seconds is None else order.seconds
    say("compiling")
    with signals.interruptible() as seen:
        parameters, progress = train(
            encoder,
            order.method,
            pictures,
            order.seed,
            order.steps,
            seconds,
            show,
            lambda: bool(seen),
        )
        if parameters is None:
            return Learned(None, progress, True, data.notes)
        try:
            weights.write(order.output, parameters, _facts(order, data, encoder, progress))
        except OSError as error:
            raise UserError(
                f"{order.output} could not be written ({error.strerror}): make room or choose"
                " another place"
            ) from None
        return Learned(weights.read(order.output).digest, progress, bool(seen), data.notes)


def require_writable(output: Path) -> None:
    """See that a file of weights can be made, before it is worked for.

    Raises:
        UserError: it has another suffix, is there already, or its folder takes no files.
    """
    if output.suffix != SUFFIX:
        raise UserError(f"{output} would not be found as features: let its name end in {SUFFIX}")
    if output.exists():
        raise UserError(f"{output} exists: choose another name, or remove it first")
    try:
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise UserError(
            f"{output} cannot be written ({error.strerror}): choose a folder that exists and takes"
            " files"
        ) from None


def _load(order: Order) -> Dataset:
    if order.preparation and order.data in NAMED:
        raise UserError(
            f"{order.data} is taken as it is: leave out"
            f" {' and '.join(f'--{key}' for key in order.preparation)}"
        )
    match order.data:
        case "sample":
            asked: Any = config.Images(kind="mnist", source="sample")
        case "mnist" | "cifar10":
            asked = config.Images(kind=order.data)
        case _:
            asked = config.UserData(path=order.data, **order.preparation)
    data = load(asked, order.data_dir)
    if not data.is_images:
        raise UserError(
            f"{order.data} holds points, which are their own features: an encoder is trained on"
            " pictures"
        )
    return data


def _prepared(data: Dataset) -> tuple[Encoder, np.ndarray]:
    """The encoder for a data set's pictures, and the pictures to train it on, at the size that its
    first layer sees.
    """
    factor = shrinking(data.shape)
    train, _ = data.in_memory("training an encoder")
    parts = [train[i : i + CHUNK] for i in range(0, len(train), CHUNK)]
    pictures = (
        train
        if factor == 1
        else np.concatenate(
            [as_bytes(shrink(as_floats(jnp.asarray(part)), factor)) for part in parts]
        )
    )
    h, w, c = pictures.shape[1:]
    return Encoder((h, w, c)), pictures


def _facts(
    order: Order, data: Dataset, encoder: Encoder, progress: TrainingProgress
) -> dict[str, str]:
    return {
        **sizes(encoder.clone(shape=data.shape)),
        "method": order.method,
        "steps": str(progress.step),
        "loss": f"{progress.loss:.6g}",
        "complete": "yes" if progress.share >= 1 else f"stopped at {progress.share:.0%}",
        "seed": str(order.seed),
        "data": order.data if order.data in NAMED else "own",
        "data_fingerprint": data.fingerprint,
        "pictures": str(len(data.train)),
        "otgan": otgan.__version__,
    }
