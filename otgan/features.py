"""What examples are compared by: a network named with the hash of its weights, pixels, or points as they are.

| name | reads | features |
|---|---|---|
| `mnist-lenet`, `mnist-allconv` | 28 x 28 grey; of stacked digits each channel, its margin cut off | the layer before the classes |
| `cifar10-resnet`, `cifar10-allconv` | 32 x 32 colour | the layer before the classes |
| `inception` | any, resized to 299 x 299, grey repeated | pool3 of the Inception-v3 of Heusel et al. (2017) |
| `random` | any | of a network that stays as it was drawn |
| `pixels`, `points` | any | the values themselves, pixels in [-1, 1] |

A distance carries the name of what it was measured by, as in `fid[mnist-lenet]`; the plain name `fid` is the Inception's alone,
and only with the published weights.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import FlaxError
from jax import Array
from jaxtyping import Float, Shaped

from otgan import weights
from otgan.data.digits import MARGIN
from otgan.errors import UserError
from otgan.models.classifiers import CLASSIFIERS, LeNet, RandomConv, ResNet, random_parameters
from otgan.models.inception import SIDE, Inception
from otgan.models.resize import Convention, resize
from otgan.weights.catalog import EMBEDDED, embedded, inception_folder
from otgan.weights.inception import DIGEST as PUBLISHED
from otgan.weights.inception import find as find_inception

NAMES = ("inception", *EMBEDDED, "random", "pixels", "points")
RANDOM_SEED = 1904
DIGITS_OF_HASH = 12  # of weights, in protocols
DIGIT, COLOUR = LeNet.shape, ResNet.shape
STACK = (DIGIT[0] + 2 * MARGIN, DIGIT[1] + 2 * MARGIN, 3)
DIGIT_READERS = tuple(name for name in EMBEDDED if CLASSIFIERS[name].shape == DIGIT)
RANGES = {"tf1": "(x - 128) / 128, as TensorFlow's graph", "half_pixel": "x / 127.5 - 1, as pytorch-fid"}

Show = Callable[[str], None]
Look = Callable[[Shaped[Array | np.ndarray, "n ..."]], tuple[Float[Array, "n d"], Float[Array, "n channels k"] | None]]


@dataclass(frozen=True)
class Features:
    """A way of looking at examples.

    Attributes:
        name: what a score's name carries in brackets.
        digest: the first digits of the weights' SHA-256, or how they are made.
        preparation: what is done to examples before they are looked at, in words: a part of every score's protocol.
        dimension: of the features.
        classifies: whether it knows classes.
        look: points, or images as bytes or levels in [0, 255], (n, h, w, c) -> features and, of a classifier, the
            classes' probabilities, for each channel that it reads by itself.
    """

    name: str
    digest: str
    preparation: str
    dimension: int
    classifies: bool
    look: Look

    def names(self, metric: str) -> str:
        """A metric's full name: `fid[mnist-lenet]`; the Inception's is plain."""
        return metric if self.name == "inception" else f"{metric}[{self.name}]"


def default_name(kind: str, shape: tuple[int, ...], seen: Collection[str] = ()) -> str:
    """The features for data of a kind: the first network that was trained on them, else random ones; points are their own.

    Those in `seen` are passed over, as long as there are others.
    """
    if len(shape) == 1:
        return "points"
    trained = [name for name in EMBEDDED if name.startswith(f"{kind.removeprefix('stacked-')}-")]
    choice = [*trained, "random"]
    return next((name for name in choice if name not in seen), choice[0])


def make_features(name: str, shape: tuple[int, ...], convention: Convention = "tf1", show: Show = lambda text: None) -> Features:
    """The features of a name, or of a file of weights, for examples of a shape.

    Args:
        name: one of `NAMES`, or the path of a `.safetensors` file.
        shape: of one example.
        convention: how the Inception's images are resized and scaled.
        show: told of the progress of a download.

    Raises:
        UserError: there are no such features, they cannot read such examples, or weights are missing or damaged.
    """
    if len(shape) == 1 and name != "points":
        raise UserError(f"--features {name} looks at images; the examples are points, which are their own features (points)")
    match name:
        case "points" if len(shape) > 1:
            raise UserError("--features points is for points; the examples are images: choose pixels, random or a network")
        case "points":
            return Features(name, "none", "as they are", math.prod(shape), False, lambda x: (jnp.asarray(x, jnp.float32), None))
        case "pixels":
            return Features(name, "none", "x / 127.5 - 1", math.prod(shape), False, lambda x: (_unit(x).reshape(len(x), -1), None))
        case "random":
            return _random(shape)
        case "inception":
            return _network(name, find_inception(inception_folder(), show=_in_words(show)), shape, convention)
        case _ if name in EMBEDDED:
            return _network(name, embedded(name), shape, convention)
        case _ if Path(name).suffix == ".safetensors":
            read = weights.read(Path(name))
            return _network(read.facts.get("network", "nothing"), read, shape, convention)
    raise UserError(f"there are no features {name!r}: choose {', '.join(NAMES)}, or the path of a .safetensors file")


def _in_words(show: Show) -> Callable[[int, int], None]:
    return lambda done, total: show(f"downloading the Inception's weights, {done >> 20} of {total >> 20} MiB")


def _network(name: str, read: weights.Weights, shape: tuple[int, ...], convention: Convention) -> Features:
    if name == "inception":
        grey = ", grey repeated" if shape[-1] == 1 else ""
        words = f"bilinear to {SIDE} x {SIDE} ({convention}){grey}, {RANGES[convention]}"
        published = read.facts.get("source_sha256") == PUBLISHED
        shown = name if published else f"inception-{read.digest[:8]}"
        return _classifier(shown, Inception(), read, shape, words, partial(_for_inception, convention=convention))
    if name not in CLASSIFIERS:
        raise UserError(f"the file of weights says that they are of {name!r}: otgan knows {', '.join(('inception', *CLASSIFIERS))}")
    module = CLASSIFIERS[name]()
    if module.shape == DIGIT and shape in (DIGIT, STACK):
        return _digits(name, module, read, shape)
    if module.shape == shape:
        return _classifier(name, module, read, shape, "x / 127.5 - 1", _unit)
    wanted = {DIGIT: "28 x 28 grey images and stacked digits", COLOUR: "32 x 32 colour images"}[module.shape]
    raise UserError(f"{name} reads {wanted}, not images of shape {shape}: choose inception, random or pixels")


def _classifier(name: str, module: Any, read: weights.Weights, shape: tuple[int, ...], words: str, prepare: Callable) -> Features:
    """Features and class probabilities of a module that returns both."""
    parameters = {"params": read.parameters}

    @jax.jit
    def look(parameters: Any, x: Array) -> tuple[Array, Array]:
        features, logits = module.apply(parameters, prepare(x))
        return features, jax.nn.softmax(logits)[:, None]

    dimension = _dimension(look, parameters, shape)
    return Features(name, read.digest[:DIGITS_OF_HASH], words, dimension, True, partial(look, parameters))


def _digits(name: str, module: Any, read: weights.Weights, shape: tuple[int, ...]) -> Features:
    """On digits, or on each channel of stacked ones, whose features stand side by side."""
    parameters = {"params": read.parameters}

    @jax.jit
    def look(parameters: Any, x: Array) -> tuple[Array, Array]:
        n, channels = len(x), shape[-1]
        inside = x if shape == DIGIT else x[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
        digits = jnp.moveaxis(_unit(inside), -1, 1).reshape(n * channels, 28, 28, 1)
        features, logits = module.apply(parameters, digits)
        return features.reshape(n, -1), jax.nn.softmax(logits).reshape(n, channels, -1)

    words = "x / 127.5 - 1" if shape == DIGIT else f"each channel by itself, {MARGIN} pixels cut off at each side, x / 127.5 - 1"
    return Features(name, read.digest[:DIGITS_OF_HASH], words, _dimension(look, parameters, shape), True, partial(look, parameters))


def _random(shape: tuple[int, ...]) -> Features:
    module: Any = RandomConv()
    h, w, c = shape
    parameters = {"params": random_parameters(RANDOM_SEED, (h, w, c))}
    digest = hashlib.sha256(b"".join(jnp.asarray(leaf).tobytes() for leaf in jax.tree.leaves(parameters))).hexdigest()[:DIGITS_OF_HASH]
    look = jax.jit(lambda parameters, x: (module.apply(parameters, _unit(x)), None))
    return Features("random", digest, "x / 127.5 - 1", _dimension(look, parameters, shape), False, partial(look, parameters))


def _dimension(look: Callable, parameters: Any, shape: tuple[int, ...]) -> int:
    try:
        return jax.eval_shape(look, parameters, jax.ShapeDtypeStruct((1, *shape), jnp.float32))[0].shape[1]
    except (ValueError, TypeError, KeyError, FlaxError) as error:
        raise UserError(f"the weights do not fit the network: {error}".splitlines()[0]) from None


def _unit(x: Array | np.ndarray) -> Float[Array, "n h w c"]:
    return jnp.asarray(x, jnp.float32) / 127.5 - 1


def _for_inception(x: Array, convention: Convention) -> Float[Array, "n 299 299 3"]:
    colour = jnp.broadcast_to(jnp.asarray(x, jnp.float32), (*x.shape[:3], 3))
    large = resize(colour, (SIDE, SIDE), convention)
    return (large - 128) / 128 if convention == "tf1" else large / 127.5 - 1
