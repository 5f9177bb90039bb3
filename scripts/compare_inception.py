"""Our Inception against pytorch-fid's, on the same seeded random weights: features, logits, FID,
and seconds on one core.

    pip install -e '.[bench]'
    taskset -c 0 python scripts/compare_inception.py

The weights are random, so neither network needs a download; they are drawn such that activations
keep their size through all layers. Both networks read them as they would the published ones:
PyTorch's by `load_state_dict`, ours from a file of `torch.save`, by `otgan.weights.inception`. With
`--fixture FILE` pytorch-fid's outputs for a few pictures are kept, for the tests.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from otgan.metrics.frechet import Moments, frechet_distance
from otgan.models.inception import SIDE, Inception, Outputs
from otgan.models.resize import resize
from otgan.weights import inception as weights

SEED = 0
BATCH = 16
EVERY = 4  # the fixture keeps every fourth feature and logit


def random_state(seed: int) -> dict[str, np.ndarray]:
    """A state dict of random values, the same with every version of NumPy: He's variance for
    kernels, statistics near 0 and 1.
    """
    rng = np.random.RandomState(seed)  # its stream is frozen, that of newer generators is not
    state = {}
    for name, shape in sorted(weights.expected_shapes().items()):
        noise = rng.standard_normal(shape)
        if name.endswith((weights.KERNEL, "fc.weight")):
            value = noise * np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith((weights.SCALE, weights.VARIANCE)):
            value = np.exp(noise / 5)
        else:
            value = noise / 5
        state[name] = value.astype(np.float32)
    return state


def random_pictures(seed: int, count: int, side: int) -> np.ndarray:
    """(count, side, side, 3) bytes: smooth noise of a contrast of its own in every picture."""
    rng = np.random.RandomState(seed)
    coarse = rng.standard_normal((count, 8, 8, 3)) * rng.uniform(10, 60, (count, 1, 1, 1))
    smooth = np.repeat(np.repeat(coarse, side // 8, axis=1), side // 8, axis=2)
    return np.clip(128 + smooth + 20 * rng.standard_normal(smooth.shape), 0, 255).astype(np.uint8)


def our_network(parameters: dict[str, Any]) -> Callable[[np.ndarray], Outputs]:
    """Bytes n h w 3 to our outputs, resized and scaled as pytorch-fid does."""

    @jax.jit
    def apply(parameters: dict[str, Any], pictures: jax.Array) -> Outputs:
        x = resize(pictures.astype(jnp.float32) / 127.5 - 1, (SIDE, SIDE), "half_pixel")
        return Inception(class_bias=True).apply({"params": parameters}, x)  # pyright: ignore[reportReturnType] - apply is not typed

    on_device = jax.device_put(parameters)
    return lambda pictures: apply(on_device, jnp.asarray(pictures))


def their_network(
    state: dict[str, np.ndarray],
) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    """Bytes n h w 3 to pytorch-fid's pool3 features, and to the logits of the network that it takes
    them from.
    """
    torch = import_module("torch")
    # Where torchvision is built for another device than PyTorch is, its operators for detection,
    # unused here, are not there to register.
    with mock.patch("torch.library.register_fake", return_value=lambda function: function):
        pytorch_fid = import_module("pytorch_fid.inception")
    torch.set_num_threads(1)
    tensors = {name: torch.from_numpy(value) for name, value in state.items()}
    with mock.patch.object(
        pytorch_fid, "load_state_dict_from_url", return_value=_with_counters(tensors)
    ):
        features, whole = pytorch_fid.InceptionV3().eval(), pytorch_fid.fid_inception_v3().eval()

    @torch.no_grad()
    def pool3(pictures: np.ndarray) -> np.ndarray:
        return features(_as_tensor(pictures))[0][:, :, 0, 0].numpy()

    @torch.no_grad()
    def logits(pictures: np.ndarray) -> np.ndarray:
        resized = torch.nn.functional.interpolate(
            _as_tensor(pictures), (SIDE, SIDE), mode="bilinear", align_corners=False
        )
        return whole(2 * resized - 1).numpy()

    return pool3, logits


def _as_tensor(pictures: np.ndarray) -> Any:
    return import_module("torch").from_numpy(
        pictures.transpose(0, 3, 1, 2).astype(np.float32) / 255
    )


def _with_counters(tensors: dict[str, Any]) -> dict[str, Any]:
    """Add PyTorch's count of training steps to every batch normalization, as its own files
    have it.
    """
    torch = import_module("torch")
    layers = [name.removesuffix(weights.MEAN) for name in tensors if name.endswith(weights.MEAN)]
    return tensors | {f"{layer}bn.{weights.COUNTER}": torch.tensor(0) for layer in layers}


def through_a_file(state: dict[str, np.ndarray]) -> dict[str, Any]:
    """Parameters imported from a file that PyTorch saved."""
    torch = import_module("torch")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.pth"
        torch.save(
            _with_counters({name: torch.from_numpy(value) for name, value in state.items()}), file
        )
        return weights.import_file(file, Path(folder) / "ours.safetensors", digest=None).parameters


def in_batches(network: Callable[[np.ndarray], Any], pictures: np.ndarray) -> np.ndarray:
    """A network's outputs for many pictures."""
    return np.concatenate(
        [np.asarray(network(pictures[i : i + BATCH])) for i in range(0, len(pictures), BATCH)]
    )


def our_fid(a: np.ndarray, b: np.ndarray) -> float:
    """As `otgan eval` has it."""
    p, q = (Moments.empty(part.shape[1]).add(part) for part in (a, b))
    return frechet_distance(p, q)


def their_fid(a: np.ndarray, b: np.ndarray) -> float:
    """As pytorch-fid has it."""
    statistics = [
        value
        for part in (a, b)
        for value in (part.mean(axis=0), np.cov(part.astype(np.float64), rowvar=False))
    ]
    return float(import_module("pytorch_fid.fid_score").calculate_frechet_distance(*statistics))


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference, in units of the largest value."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def compare(count: int) -> None:
    """Print how far apart features, logits and FID are."""
    state = random_state(SEED)
    ours, (pool3, logits) = our_network(through_a_file(state)), their_network(state)
    pictures, others = random_pictures(SEED + 1, count, 32), random_pictures(SEED + 2, count, 64)
    found = [in_batches(lambda x: ours(x).pool3, part) for part in (pictures, others)]
    expected = [in_batches(pool3, part) for part in (pictures, others)]
    distances = our_fid(found[0], found[1]), their_fid(expected[0], expected[1])
    for name, mine, theirs in zip(("32 x 32", "64 x 64"), found, expected, strict=True):
        print(
            f"features, {count} pictures of {name}: relative difference"
            f" {relative(mine, theirs):.1e}"
        )
    mine = in_batches(lambda x: ours(x).logits, pictures)
    off = relative(mine, in_batches(logits, pictures))
    print(f"logits: relative difference {off:.1e}")
    print(
        f"FID of the two sets: ours {distances[0]:.6f}, theirs {distances[1]:.6f}, difference"
        f" {abs(distances[0] - distances[1]):.1e}"
    )


def race(count: int) -> None:
    """Print the CPU seconds of both for the features of pictures of 32 x 32, compilation and
    loading apart.
    """
    state = random_state(SEED)
    pictures = random_pictures(SEED + 1, count, 32)
    ours, (pool3, _) = our_network(weights.convert(state)), their_network(state)
    for name, network in (("ours", lambda x: ours(x).pool3), ("pytorch-fid's", pool3)):
        in_batches(network, pictures[:BATCH])
        start = time.process_time()
        in_batches(network, pictures)
        print(
            f"{name}: {time.process_time() - start:.1f} CPU seconds for {count} pictures, in"
            f" batches of {BATCH}"
        )


def write_fixture(path: Path, count: int) -> None:
    """Keep pytorch-fid's outputs for a few pictures, a quarter of each, as the tests compare
    them.
    """
    pool3, logits = their_network(random_state(SEED))
    pictures = random_pictures(SEED + 1, count, 32)
    np.savez_compressed(
        path, pool3=pool3(pictures)[:, ::EVERY], logits=logits(pictures)[:, ::EVERY]
    )
    print(f"{path}: {path.stat().st_size} bytes")


def main() -> None:
    """Parse and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--pictures", type=int, default=64, help="in each of two sets, for features and FID"
    )
    parser.add_argument(
        "--race", type=int, default=256, help="pictures to take the time with; 0 takes none"
    )
    parser.add_argument(
        "--fixture",
        type=Path,
        help="write the tests' file of pytorch-fid's outputs, and compare nothing",
    )
    arguments = parser.parse_args()
    if arguments.fixture:
        write_fixture(arguments.fixture, count=8)
        return
    compare(arguments.pictures)
    if arguments.race:
        race(arguments.race)


if __name__ == "__main__":
    main()
