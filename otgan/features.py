"""What examples are compared by: a frozen network named with the hash of its weights, pixels, or
points as they are.

| name | reads | features | |---|---|---| | `mnist-lenet`, `mnist-allconv` | 28 x 28 gray; of
stacked digits each channel, its margin cut off | the layer before the classes | | `cifar10-resnet`,
`cifar10-allconv` | 32 x 32 color | the layer before the classes | | `inception` | any, resized to
299 x 299, gray repeated | pool3 of the Inception-v3 of Heusel et al. (2017) | | `dinov2-s`, `-b`,
`-l` | any, resized to 224 x 224, gray repeated | the normalized class token of DINOv2's ViT-S/14,
B/14, L/14 | | `resnet50` | the same | the mean of the last stage over its positions | | a file of
`otgan features train` | the shape that it was trained on | of its encoder | | `random` | any | of a
network that stays as it was drawn | | `pixels`, `points` | any | the values themselves, pixels in
[-1, 1] |

A distance carries the name of what it was measured by, as in `fid[mnist-lenet]`; the plain name
`fid` is the Inception's alone, and only with the published weights. So are those of DINOv2 and
ResNet-50; with other weights they carry their hash. A cost looks at the networks' inner layers too:
`otgan.groups`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import FlaxError
from jax import Array
from jaxtyping import Float, Shaped

from otgan import plugins, versions, weights
from otgan.data.digits import MARGIN
from otgan.errors import UserError
from otgan.models import dinov2, encoders, imagenet
from otgan.models.classifiers import CLASSIFIERS, LeNet, RandomConv, ResNet, random_parameters
from otgan.models.inception import SIDE, Inception
from otgan.models.resize import Convention, resize
from otgan.models.resnet50 import ResNet50
from otgan.weights.catalog import EMBEDDED, IMAGENET, embedded, find, identity, scored_name
from otgan.weights.catalog import PUBLISHED as FETCHED
from otgan.weights.inception import DIGEST as PUBLISHED

NETWORKS = ("inception", *EMBEDDED, *IMAGENET, "random")
NAMES = (*NETWORKS, "pixels", "points")
RANDOM_SEED = 1904
DIGITS_OF_HASH = 12  # of weights, in protocols
DIGIT, COLOR = LeNet.shape, ResNet.shape
STACK = (DIGIT[0] + 2 * MARGIN, DIGIT[1] + 2 * MARGIN, 3)
DIGIT_READERS = tuple(name for name in EMBEDDED if CLASSIFIERS[name].shape == DIGIT)
RANGES = {
    "tf1": "(x - 128) / 128, as TensorFlow's graph",
    "half_pixel": "x / 127.5 - 1, as pytorch-fid",
}

Tell = Callable[[str], None]
Look = Callable[
    [Shaped[Array | np.ndarray, "n ..."]],
    tuple[Float[Array, "n d"], Float[Array, "n channels k"] | None],
]


@dataclass(frozen=True)
class Frozen:
    """A network that nobody trains here, and how it looks at pictures: levels in [0, 255], (n, h,
    w, c).

    Attributes:
        name: what a score's name carries in brackets.
        digest: the first digits of the weights' SHA-256.
        preparation: what is done to pictures before they are looked at, in words: a part of every
            score's protocol.
        version: of how it looks at them (`otgan.versions`): another part.
        layers: the names of the layers that `maps` shows, in order of depth.
        classifies: whether it knows classes.
        parameters: what both functions take first.
        look: (parameters, pictures) -> features, and of a classifier the classes' probabilities for
            each channel that it reads by itself.
        maps: (parameters, pictures) -> the activations of every layer, (n, h, w, c) or (n, d).
        channels: how many of a picture's it reads by themselves; what is seen of them stands side
            by side.
    """

    name: str
    digest: str
    preparation: str
    version: int
    layers: tuple[str, ...]
    classifies: bool
    parameters: Any
    look: Callable[[Any, Array], tuple[Array, Array | None]]
    maps: Callable[[Any, Array], dict[str, Array]]
    channels: int = 1


@dataclass(frozen=True)
class Features:
    """A way of looking at examples.

    Attributes:
        name: as `Frozen`'s, or that of features without a network.
        digest: as `Frozen`'s, or `none`.
        preparation: as `Frozen`'s.
        version: as `Frozen`'s.
        dimension: of the features.
        classifies: whether it knows classes.
        look: points, or images as bytes or levels in [0, 255], (n, h, w, c) -> features and, of a
            classifier, the classes' probabilities, for each channel that it reads by itself.
    """

    name: str
    digest: str
    preparation: str
    version: int
    dimension: int
    classifies: bool
    look: Look

    def names(self, metric: str) -> str:
        """A metric's full name: `fid[mnist-lenet]`; the Inception's is plain."""
        return metric if self.name == "inception" else f"{metric}[{self.name}]"


def default_name(kind: str, shape: tuple[int, ...], avoided: Collection[str] = ()) -> str:
    """The features for data of a kind: the first network that was trained on them, else random
    ones; points are their own.

    Those in `avoided` are passed over, as long as there are others.
    """
    if len(shape) == 1:
        return "points"
    trained = [name for name in EMBEDDED if name.startswith(f"{kind.removeprefix('stacked-')}-")]
    choice = [*trained, "random"]
    return next((name for name in choice if name not in avoided), choice[0])


def make_features(
    name: str,
    shape: tuple[int, ...],
    convention: Convention = "tf1",
    show: Tell = lambda text: None,
) -> Features:
    """The features of a name, or of a file of weights, for examples of a shape.

    Args:
        name: one of `NAMES`, or the path of a `.safetensors` file.
        shape: of one example.
        convention: how the Inception's images are resized and scaled.
        show: told of the progress of a download.

    Raises:
        UserError: there are no such features, they cannot read such examples, or weights are
            missing or damaged.
    """
    if len(shape) == 1 and name != "points":
        raise UserError(
            f"--features {name} looks at images; the examples are points, which are their own"
            " features (points)"
        )
    match name:
        case "points" if len(shape) > 1:
            raise UserError(
                "--features points is for points; the examples are images: choose pixels, random or"
                " a network"
            )
        case "points":
            return _values(name, shape, "as they are", lambda x: jnp.asarray(x, jnp.float32))
        case "pixels":
            return _values(name, shape, "x / 127.5 - 1", lambda x: _unit(x).reshape(len(x), -1))
    frozen = find_network(name, shape, convention, show)
    look = partial(jax.jit(frozen.look), frozen.parameters)
    told = frozen.name, frozen.digest, frozen.preparation, frozen.version
    return Features(*told, _dimension(frozen, shape), frozen.classifies, look)


def _values(
    name: str, shape: tuple[int, ...], words: str, look: Callable[[Any], Array]
) -> Features:
    """Features without a network."""
    return Features(
        name,
        "none",
        words,
        versions.NETWORKS[name],
        math.prod(shape),
        False,
        lambda x: (look(x), None),
    )


def find_network(
    name: str,
    shape: tuple[int, ...],
    convention: Convention = "tf1",
    show: Tell = lambda text: None,
) -> Frozen:
    """A frozen network by its name, or by the file of its weights, for images of a shape.

    Args:
        name: one of `NETWORKS`, or the path of a `.safetensors` file.
        shape: of one image.
        convention: how the Inception's images are resized and scaled.
        show: told of the progress of a download.

    Raises:
        UserError: there is no such network, it cannot read such images, or its weights are missing
            or damaged.
    """
    match name:
        case "random":
            return _random(shape)
        case _ if name in FETCHED:
            return _network(name, find(name, _in_words(name, show)), shape, convention)
        case _ if name in EMBEDDED:
            return _network(name, embedded(name), shape, convention)
        case _ if Path(name).suffix == ".safetensors":
            read = weights.read(Path(name))
            return _network(read.facts.get("network", "nothing"), read, shape, convention)
        case _ if name in plugins.names(plugins.Kind.FEATURES):
            return plugins.load(plugins.Kind.FEATURES, name).make(shape)
    raise UserError(
        f"there are no features {name!r}: choose {', '.join(NAMES)}, or the path of a .safetensors"
        " file"
    )


def _in_words(name: str, show: Tell) -> Callable[[int, int], None]:
    return lambda done, total: show(
        f"downloading the weights of {FETCHED[name].title}, {done >> 20} of {total >> 20} MiB"
    )


def _network(
    name: str, read: weights.Weights, shape: tuple[int, ...], convention: Convention
) -> Frozen:
    if name in CLASSIFIERS:
        module = CLASSIFIERS[name]()
        if shape == module.shape:
            return _frozen(name, module, read, shape, "x / 127.5 - 1", _unit)
        if module.shape == DIGIT and shape == STACK:
            return _stacked(_frozen(name, module, read, DIGIT, "x / 127.5 - 1", _unit))
        wanted = {DIGIT: "28 x 28 gray images and stacked digits", COLOR: "32 x 32 color images"}[
            module.shape
        ]
        raise UserError(
            f"{name} reads {wanted}, not images of shape {shape}: choose inception, random or"
            " pixels"
        )
    if name == "inception":
        gray = ", gray repeated" if shape[-1] == 1 else ""
        words = f"bilinear to {SIDE} x {SIDE} ({convention}){gray}, {RANGES[convention]}"
        published = read.facts.get("source_sha256") == PUBLISHED
        shown = name if published else f"inception-{read.digest[:8]}"
        return replace(
            _frozen(
                name,
                Inception(),
                read,
                shape,
                words,
                partial(_for_inception, convention=convention),
            ),
            name=shown,
        )
    if name in IMAGENET:
        return _of_imagenet(name, read, shape)
    if name == encoders.NETWORK:
        return _encoder(read, shape)
    known = ", ".join((*FETCHED, *CLASSIFIERS, encoders.NETWORK))
    raise UserError(f"the file of weights says that they are of {name!r}: otgan knows {known}")


def _frozen(
    network: str,
    module: Any,
    read: weights.Weights,
    shape: tuple[int, ...],
    words: str,
    prepare: Callable[[Array], Array],
) -> Frozen:
    """A module that returns features, or features and logits, and whose method `maps` shows its
    `layers`.
    """
    parameters = {"params": read.parameters}

    def look(parameters: Any, x: Array) -> tuple[Array, Array | None]:
        found = module.apply(parameters, prepare(x))
        return (
            (found[0], jax.nn.softmax(found[1])[:, None])
            if isinstance(found, tuple)
            else (found, None)
        )

    def maps(parameters: Any, x: Array) -> dict[str, Array]:
        return module.apply(parameters, prepare(x), method="maps")

    layers = tuple(getattr(module, "layers", ()))
    frozen = Frozen(
        network,
        read.digest[:DIGITS_OF_HASH],
        words,
        versions.NETWORKS[network],
        layers,
        False,
        parameters,
        look,
        maps,
    )
    return replace(frozen, classifies=_looks(frozen, shape)[1] is not None)


def _of_imagenet(name: str, read: weights.Weights, shape: tuple[int, ...]) -> Frozen:
    """A network that looks at pictures as ImageNet's are shown."""
    if shape[-1] not in (1, 3):
        raise UserError(
            f"{name} reads gray images and images in three colors, not of {shape[-1]} channels:"
            " choose random or pixels"
        )
    module: Any = (
        dinov2.NETWORKS[name]
        if name in dinov2.NETWORKS
        else ResNet50(classes=1000 if "fc" in read.parameters else 0)
    )
    words = imagenet.WORDS + (", gray repeated" if shape[-1] == 1 else "")
    return replace(
        _frozen(name, module, read, shape, words, imagenet.prepare),
        name=scored_name(read),
        digest=identity(read),
    )


def _encoder(read: weights.Weights, shape: tuple[int, ...]) -> Frozen:
    """Of a file that `otgan features train` wrote."""
    module: Any = encoders.rebuilt(read.facts)
    if shape != module.shape:
        wanted, given = (" x ".join(map(str, sizes)) for sizes in (module.shape, shape))
        raise UserError(
            f"the file of weights was trained on pictures of {wanted}, not of {given}: train one on"
            " such pictures"
        )
    factor = encoders.shrinking(module.shape)
    words = (
        "x / 127.5 - 1" if factor == 1 else f"x / 127.5 - 1, means of {factor} x {factor} pixels"
    )
    return replace(
        _frozen(encoders.NETWORK, module, read, shape, words, _unit),
        name=f"{encoders.NETWORK}-{read.digest[:8]}",
    )


def _stacked(digits: Frozen) -> Frozen:
    """The same on stacked digits: on each channel by itself, its margin cut off.

    What is seen of the channels stands side by side.
    """

    def apart(x: Array) -> Array:
        inside = jnp.asarray(x, jnp.float32)[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
        return jnp.moveaxis(inside, -1, 1).reshape(-1, *DIGIT)

    def beside(seen: Array, n: int) -> Array:
        return jnp.moveaxis(seen.reshape(n, -1, *seen.shape[1:]), 1, -2).reshape(
            n, *seen.shape[1:-1], -1
        )

    def look(parameters: Any, x: Array) -> tuple[Array, Array | None]:
        features, classes = digits.look(parameters, apart(x))
        return beside(features, len(x)), (
            None if classes is None else classes.reshape(len(x), -1, classes.shape[-1])
        )

    def maps(parameters: Any, x: Array) -> dict[str, Array]:
        return {
            layer: beside(seen, len(x)) for layer, seen in digits.maps(parameters, apart(x)).items()
        }

    words = f"each channel by itself, {MARGIN} pixels cut off at each side, {digits.preparation}"
    return replace(digits, preparation=words, look=look, maps=maps, channels=STACK[-1])


def _random(shape: tuple[int, ...]) -> Frozen:
    h, w, c = shape
    parameters = random_parameters(RANDOM_SEED, (h, w, c))
    digest = hashlib.sha256(
        b"".join(jnp.asarray(leaf).tobytes() for leaf in jax.tree.leaves({"params": parameters}))
    ).hexdigest()
    return _frozen(
        "random",
        RandomConv(),
        weights.Weights(parameters, {}, digest),
        shape,
        "x / 127.5 - 1",
        _unit,
    )


def _dimension(frozen: Frozen, shape: tuple[int, ...]) -> int:
    return _looks(frozen, shape)[0].shape[1]


def _looks(frozen: Frozen, shape: tuple[int, ...]) -> Any:
    """The shapes of what it sees of one picture."""
    try:
        return jax.eval_shape(
            frozen.look, frozen.parameters, jax.ShapeDtypeStruct((1, *shape), jnp.float32)
        )
    except (ValueError, TypeError, KeyError, FlaxError) as error:
        raise UserError(f"the weights do not fit the network: {error}".splitlines()[0]) from None


def _unit(x: Array | np.ndarray) -> Float[Array, "n h w c"]:
    return jnp.asarray(x, jnp.float32) / 127.5 - 1


def _for_inception(x: Array | np.ndarray, convention: Convention) -> Float[Array, "n 299 299 3"]:
    color = jnp.broadcast_to(jnp.asarray(x, jnp.float32), (*x.shape[:3], 3))
    large = resize(color, (SIDE, SIDE), convention)
    return (large - 128) / 128 if convention == "tf1" else large / 127.5 - 1
