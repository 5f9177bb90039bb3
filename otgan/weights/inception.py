"""Inception's weights: found in the cache, else downloaded once, or imported from the published file that somebody has.

The published file is that of pytorch-fid's release `fid_weights`, a port of TensorFlow's network of 2015-12-05. What is kept of it are the
parameters of `otgan.models.inception.Inception`, as safetensors; the published file itself is not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cache as remembered
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError

from otgan.cache import alone
from otgan.errors import UserError
from otgan.models.inception import SIDE, Inception
from otgan.weights import torch_file
from otgan.weights.download import Show, download
from otgan.weights.store import Weights, read, sha256, write

NAME = "pt_inception-2015-12-05-6726825d.pth"
ADDRESS = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{NAME}"
DIGEST = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"  # its SHA-256, as several public projects state it
NETWORK = "inception"
BY_HAND = "give it with `otgan weights import FILE`"

EPSILON = 1e-3  # of batch normalisation
KERNEL, SCALE, SHIFT, MEAN, VARIANCE = "conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"
COUNTER = "num_batches_tracked"  # PyTorch's count of training steps in every batch normalisation, without a part in inference


def cached(cache: Path) -> Path:
    """Where the converted file is kept."""
    return cache / "inception-6726825d.safetensors"


def find(cache: Path, *, download: bool = True, show: Show | None = None, address: str = ADDRESS, digest: str = DIGEST) -> Weights:
    """The weights in the cache, downloaded if they are not there yet.

    Args:
        cache: a folder; made if need be.
        download: whether a download is allowed.
        show: called with (bytes so far, bytes in all) as they come.
        address: of the published file.
        digest: its SHA-256.

    Raises:
        UserError: they are not there and cannot be had. Nothing is cached then but the part that has come, for the next call to go on from.
    """
    with suppress(UserError):  # an unusable cache is no reason to stop
        return read(cached(cache))
    if not download:
        raise UserError(f"the weights of Inception are not in {cache}: get {ADDRESS} and {BY_HAND}")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with alone(cache):
            return _fetch(cache, show, address, digest)
    except OSError as error:
        raise _unavailable(error) from error


def _fetch(cache: Path, show: Show | None, address: str, digest: str) -> Weights:
    with suppress(UserError):
        return read(cached(cache))  # another process has brought them meanwhile
    try:
        published = download(address, cache / NAME, digest, show)
    except UserError as error:
        raise _unavailable(error) from error
    try:
        return import_file(published, cached(cache), digest=digest)
    finally:
        published.unlink()


def _unavailable(error: Exception) -> UserError:
    return UserError(f"the weights of Inception cannot be downloaded ({error}): get {NAME} by other means and {BY_HAND}")


def import_file(path: Path, out: Path, *, digest: str | None = DIGEST) -> Weights:
    """Convert the published file, and keep the result.

    Args:
        path: the file, under whatever name.
        out: the safetensors file to write, such as `cached(...)`.
        digest: the SHA-256 that it must have; None takes any file of the network's weights, whose scores are then nobody else's.

    Raises:
        UserError: the file is not there, is another one, or does not hold the network's weights; or the result cannot be kept.
    """
    try:
        found = sha256(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give the file {NAME}") from error
    if digest is not None and found != digest:
        raise UserError(f"{path} is not the published {NAME}, or is damaged: its SHA-256 begins with {found[:8]}, not {digest[:8]}")
    parameters = convert(torch_file.read(path))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write(out, parameters, {"network": NETWORK, "source_sha256": found})
    except (OSError, SafetensorError) as error:
        raise UserError(f"{out} cannot be written ({error}): choose another place") from error
    return read(out)


def convert(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Fold PyTorch's arrays into the network's parameters, every array used exactly once.

    Args:
        state: the published file's arrays, by their names there.

    Returns:
        `{layer: {"kernel": ..., "bias": ...}}`, float32.

    Raises:
        UserError: arrays are missing, left over, or of another shape; the first few are named.
    """
    state = {name: value for name, value in state.items() if not name.endswith(f".{COUNTER}")}
    shapes = expected_shapes()
    _refuse("lack", shapes.keys() - state.keys())
    _refuse("have besides", state.keys() - shapes.keys())
    _refuse("have in another shape", {name for name, shape in shapes.items() if state[name].shape != shape})
    convolutions = [name.removesuffix(f".{KERNEL}") for name in shapes if name.endswith(KERNEL)]
    parameters = {name: _fold(*(state[f"{name}.{part}"] for part in (KERNEL, SCALE, SHIFT, MEAN, VARIANCE))) for name in convolutions}
    return parameters | {"fc": {"kernel": state["fc.weight"].T.astype(np.float32), "bias": state["fc.bias"].astype(np.float32)}}


def _refuse(complaint: str, names: set[str]) -> None:
    if names:
        first = ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        raise UserError(f"these are not the weights of Inception: they {complaint} {first}; give the file {NAME}")


def _fold(
    kernel: Float[np.ndarray, "d c h w"],
    scale: Float[np.ndarray, " d"],
    shift: Float[np.ndarray, " d"],
    mean: Float[np.ndarray, " d"],
    variance: Float[np.ndarray, " d"],
) -> dict[str, np.ndarray]:
    """Put (y - mean) / sqrt(variance + epsilon) * scale + shift, of every output channel y, into kernel and bias."""
    factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + EPSILON)
    folded = kernel.transpose(2, 3, 1, 0) * factor.reshape(1, 1, 1, -1)
    return {"kernel": folded.astype(np.float32), "bias": (shift - mean * factor).astype(np.float32)}


@remembered
def expected_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published file's arrays, but for the counters."""
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    layers: Mapping[str, Any] = jax.eval_shape(Inception().init, jax.random.key(0), image)["params"]
    shapes: dict[str, tuple[int, ...]] = {}
    for name, layer in layers.items():
        *window, inputs, outputs = layer["kernel"].shape
        if name == "fc":
            shapes |= {"fc.weight": (outputs, inputs), "fc.bias": (outputs,)}
        else:
            shapes |= {f"{name}.{KERNEL}": (outputs, inputs, *window)}
            shapes |= {f"{name}.{part}": (outputs,) for part in (SCALE, SHIFT, MEAN, VARIANCE)}
    return shapes
