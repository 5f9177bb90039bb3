"""Our DINOv2 and ResNet-50 against the transformers library's, on the same seeded random weights:
features, every layer, logits.

    pip install -e '.[bench]'
    python scripts/compare_networks.py

The weights are random, so nothing is downloaded. Both sides get them as the official files name
them: ours from a file of `torch.save` by `otgan.weights`, theirs under their own names. Our
resizing is compared with Pillow's and PyTorch's. With `--fixture FILE` outputs of networks of the
same code, but tiny, are kept for the tests.
"""

from __future__ import annotations

import argparse
import math
import re
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
from PIL import Image

from otgan.models.dinov2 import NETWORKS, OFFSET, PATCH, DinoV2
from otgan.models.imagenet import DEVIATION, MEAN, SIDE, prepare
from otgan.models.resnet50 import EXPANSION, ResNet50
from otgan.weights import dinov2, resnet50, torch_file
from otgan.weights.fitting import COUNTER

SEED = 0
# of the fixture: 4 x 3 patches, so that rows and columns are told apart
TINY_IMAGES = (2, 56, 42, 3)


class TinyDinoV2(DinoV2):
    """DINOv2 of a few kilobytes."""

    layers: ClassVar[tuple[str, ...]] = ("block_1", "block_2", "class")
    width: int = 24
    depth: int = 2
    heads: int = 2
    grid: int = 5


TINY_DINO = TinyDinoV2()
TINY_RESNET = ResNet50(classes=7, width=4, blocks=(1, 2, 1, 1))


def random_dinov2(module: DinoV2, seed: int) -> dict[str, np.ndarray]:
    """A state dict of random values, the same with every version of NumPy, that keep activations'
    size through all blocks.
    """
    rng = np.random.RandomState(seed)  # its stream is frozen, that of newer generators is not
    state = {}
    for name, shape in sorted(dinov2.expected_shapes(module).items()):
        noise = rng.standard_normal(shape)
        if name.endswith("gamma"):
            value = 0.3 * np.exp(noise / 3)
        elif "norm" in name and name.endswith("weight"):
            value = np.exp(noise / 5)
        elif name.endswith("weight"):
            value = noise / np.sqrt(np.prod(shape[1:]))
        else:
            value = noise / 2 if name in ("cls_token", "pos_embed") else noise / 5
        state[name] = value.astype(np.float32)
    return state


def random_resnet50(module: ResNet50, seed: int) -> dict[str, np.ndarray]:
    """The same for ResNet-50, with counters as PyTorch's own files have them."""
    rng = np.random.RandomState(seed)
    outside = module.width * 2 ** (len(module.blocks) - 1) * EXPANSION
    shapes = resnet50.expected_shapes(module) | {
        "fc.weight": (module.classes, outside),
        "fc.bias": (module.classes,),
    }
    state = {}
    for name, shape in sorted(shapes.items()):
        noise = rng.standard_normal(shape)
        if len(shape) > 1:
            value = noise * np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith(("running_var", ".weight")):
            value = np.exp(noise / 5)
        else:
            value = noise / 5
        state[name] = value.astype(np.float32)
    counted = [name.removesuffix("running_var") for name in shapes if name.endswith("running_var")]
    return state | {f"{name}{COUNTER}": np.zeros((), np.int64) for name in counted}


def random_images(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Bytes n h w c: smooth noise, and a little that is not."""
    rng = np.random.RandomState(seed)
    n, h, w, c = shape
    coarse = 60 * rng.standard_normal((n, 8, 8, c))
    smooth = coarse[:, np.arange(h) * 8 // h][:, :, np.arange(w) * 8 // w]
    return np.clip(128 + smooth + 20 * rng.standard_normal(shape), 0, 255).astype(np.uint8)


def scaled(images: np.ndarray) -> np.ndarray:
    """By ImageNet's mean and deviation, at the size that they have."""
    return ((images / 255 - np.array(MEAN)) / np.array(DEVIATION)).astype(np.float32)


def our_maps(module: Any, parameters: dict[str, Any], x: np.ndarray) -> dict[str, np.ndarray]:
    """Every layer's activations, and the features and logits that the network returns."""
    look = jax.jit(
        lambda parameters, x: (
            module.apply({"params": parameters}, x, method="maps"),
            module.apply({"params": parameters}, x),
        )
    )
    found, outputs = look(parameters, x)
    named = {"features": outputs} if isinstance(module, DinoV2) else outputs._asdict()
    return {name: np.asarray(value) for name, value in {**found, **named}.items()}


def their_dinov2(
    module: DinoV2, state: Mapping[str, np.ndarray], x: np.ndarray
) -> dict[str, np.ndarray]:
    """The same of transformers' network, with positions interpolated by PyTorch as the official
    code asks it to.
    """
    torch, library = import_module("torch"), import_module("transformers")
    config = library.Dinov2Config(
        hidden_size=module.width,
        num_hidden_layers=module.depth,
        num_attention_heads=module.heads,
        image_size=PATCH * module.grid,
        patch_size=PATCH,
        layer_norm_eps=1e-6,
    )
    network = library.Dinov2Model(config).eval()
    network.load_state_dict(
        {name: torch.from_numpy(value) for name, value in their_dinov2_names(state).items()},
        strict=True,
    )
    _, h, w, _ = x.shape
    embedded = official_positions(state["pos_embed"], h // PATCH, w // PATCH)
    network.embeddings.interpolate_pos_encoding = lambda *_: torch.from_numpy(embedded)
    with torch.no_grad():
        outputs = network(torch.from_numpy(x.transpose(0, 3, 1, 2)), output_hidden_states=True)
    found = {
        f"block_{i}": _patches(tokens.numpy(), h, w)
        for i, tokens in enumerate(outputs.hidden_states)
        if i
    }
    return found | {
        "class": outputs.pooler_output.numpy(),
        "features": outputs.pooler_output.numpy(),
    }


def _patches(tokens: np.ndarray, h: int, w: int) -> np.ndarray:
    return tokens[:, 1:].reshape(len(tokens), h // PATCH, w // PATCH, -1)


def their_dinov2_names(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The official file's arrays by the names that transformers has for them, queries, keys and
    values apart.
    """
    names = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj": "embeddings.patch_embeddings.projection",
        "norm.weight": "layernorm.weight",
        "norm.bias": "layernorm.bias",
        "attn.proj": "attention.o_proj",
        "ls1.gamma": "layer_scale1.lambda1",
        "ls2.gamma": "layer_scale2.lambda1",
    }
    found = {"embeddings.mask_token": np.zeros((1, state["cls_token"].shape[-1]), np.float32)}
    for name, value in state.items():
        start, rest = (
            (f"encoder.layer.{name.split('.')[1]}.", name.split(".", 2)[2])
            if name.startswith("blocks.")
            else ("", name)
        )
        if rest.startswith("attn.qkv"):
            parts = zip(("q", "k", "v"), np.split(value, 3), strict=True)
            found |= {
                f"{start}attention.{letter}_proj.{rest.split('.')[-1]}": part
                for letter, part in parts
            }
            continue
        known = next((old for old in names if rest == old or rest.startswith(f"{old}.")), None)
        found[start + (rest if known is None else rest.replace(known, names[known]))] = value
    return found


def official_positions(embeddings: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """What the official code asks of PyTorch: bicubic by a factor for a grid larger by a tenth of a
    patch.
    """
    torch = import_module("torch")
    side = math.isqrt(embeddings.shape[1] - 1)
    if rows == columns == side:
        return embeddings
    grid = torch.from_numpy(
        embeddings[:, 1:].reshape(1, side, side, -1).transpose(0, 3, 1, 2).copy()
    )
    factor = ((rows + OFFSET) / side, (columns + OFFSET) / side)
    fitted = torch.nn.functional.interpolate(grid, scale_factor=factor, mode="bicubic").numpy()
    return np.concatenate(
        [embeddings[:, :1], fitted.transpose(0, 2, 3, 1).reshape(1, rows * columns, -1)], axis=1
    )


def their_resnet50(
    module: ResNet50, state: Mapping[str, np.ndarray], x: np.ndarray
) -> dict[str, np.ndarray]:
    """The same of transformers' network."""
    torch, library = import_module("torch"), import_module("transformers")
    config = library.ResNetConfig(
        embedding_size=module.width,
        hidden_sizes=[EXPANSION * module.width * 2**i for i in range(len(module.blocks))],
        depths=list(module.blocks),
        layer_type="bottleneck",
        num_labels=module.classes,
    )
    network = library.ResNetForImageClassification(config).eval()
    network.load_state_dict(
        {
            their_resnet50_name(name): torch.from_numpy(np.array(value))
            for name, value in state.items()
        },
        strict=True,
    )
    with torch.no_grad():
        inside = network.resnet(
            torch.from_numpy(x.transpose(0, 3, 1, 2)), output_hidden_states=True
        )
        logits = network.classifier(inside.pooler_output).numpy()
    stages = inside.hidden_states[1:]
    pooled = inside.pooler_output.numpy()[:, :, 0, 0]
    found = {
        f"stage_{i}": stage.numpy().transpose(0, 2, 3, 1) for i, stage in enumerate(stages, start=1)
    }
    return found | {"pool": pooled, "features": pooled, "logits": logits}


def their_resnet50_name(name: str) -> str:
    """Torchvision's name of an array -> transformers'."""
    if name.startswith("fc."):
        return f"classifier.1.{name.removeprefix('fc.')}"
    place = re.fullmatch(r"layer(\d)\.(\d+)\.(conv|bn|downsample\.)(\d)\.(\w+)", name)
    if place is None:
        return name.replace("conv1", "resnet.embedder.embedder.convolution").replace(
            "bn1", "resnet.embedder.embedder.normalization"
        )
    stage, block, kind, index, last = place.groups()
    start = f"resnet.encoder.stages.{int(stage) - 1}.layers.{block}"
    if kind == "downsample.":
        return f"{start}.shortcut.{('convolution', 'normalization')[int(index)]}.{last}"
    part = "convolution" if kind == "conv" else "normalization"
    return f"{start}.layer.{int(index) - 1}.{part}.{last}"


def through_a_file(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A state dict as our reader has it from a file that PyTorch saved."""
    torch = import_module("torch")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.pth"
        torch.save({name: torch.from_numpy(np.array(value)) for name, value in state.items()}, file)
        return {name: np.array(value) for name, value in torch_file.read(file).items()}


def pillows(images: np.ndarray) -> np.ndarray:
    """What `prepare` should give, by Pillow: every channel resized as floats."""
    channels = [
        [
            Image.fromarray(c.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            for c in np.moveaxis(i, -1, 0)
        ]
        for i in images
    ]
    return scaled(
        np.clip(np.stack([np.stack([np.asarray(c) for c in i], axis=-1) for i in channels]), 0, 255)
    )


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference, in units of the largest value."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def _print(title: str, ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    print(
        title
        + ": "
        + ", ".join(f"{name} {relative(value, theirs[name]):.1e}" for name, value in ours.items())
    )


def compare(count: int, large: bool) -> None:
    """Print how far apart resized images, layers, features and logits are, relative to the largest
    value.
    """
    for side in (32, 64, 500):
        images = random_images(SEED + side, (count, side, side + 8, 3))
        print(
            f"resized from {side} x {side + 8}, against Pillow:"
            f" {relative(np.asarray(prepare(images)), pillows(images)):.1e}"
        )
    x = np.array(prepare(random_images(SEED, (count, 32, 32, 3))))
    for name in ("dinov2-s", "dinov2-b", *(["dinov2-l"] if large else [])):
        module, state = NETWORKS[name], random_dinov2(NETWORKS[name], SEED)
        parameters = dinov2.convert(through_a_file(state), name)
        _print(
            f"{name}, 224 x 224", our_maps(module, parameters, x), their_dinov2(module, state, x)
        )
    whole = scaled(random_images(SEED, (1, 518, 518, 3)))
    module, state = NETWORKS["dinov2-s"], random_dinov2(NETWORKS["dinov2-s"], SEED)
    _print(
        "dinov2-s, 518 x 518",
        our_maps(module, dinov2.convert(state, "dinov2-s"), whole),
        their_dinov2(module, state, whole),
    )
    module, state = ResNet50(), random_resnet50(ResNet50(), SEED)
    _print(
        "resnet50, 224 x 224",
        our_maps(module, resnet50.convert(through_a_file(state)), x),
        their_resnet50(module, state, x),
    )


def write_fixture(path: Path) -> None:
    """Keep what the tiny networks of the same code give in transformers."""
    x = scaled(random_images(SEED, TINY_IMAGES))
    found = {
        "dinov2": their_dinov2(TINY_DINO, random_dinov2(TINY_DINO, SEED), x),
        "resnet50": their_resnet50(TINY_RESNET, random_resnet50(TINY_RESNET, SEED), x),
    }
    arrays = {
        f"{network}.{name}": value
        for network, values in found.items()
        for name, value in values.items()
    }
    np.savez_compressed(path, **arrays)  # pyright: ignore[reportArgumentType] - no array is called allow_pickle
    print(f"{path}: {path.stat().st_size} bytes")


def main() -> None:
    """Parse and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument(
        "--large", action="store_true", help="ViT-L/14 as well, which takes 5 GB of memory"
    )
    parser.add_argument(
        "--fixture",
        type=Path,
        help="write the tests' file of transformers' outputs, and compare nothing",
    )
    arguments = parser.parse_args()
    if arguments.fixture:
        write_fixture(arguments.fixture)
        return
    compare(arguments.images, arguments.large)


if __name__ == "__main__":
    main()
