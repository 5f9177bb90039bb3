"""Our networks and whole training steps beside the same in PyTorch.

    python -m scripts.bench.networks                    # goes on where it was stopped
    python -m scripts.bench.networks --small --out FILE # seconds, without data sets

Networks: forward and gradient, of the generator in its parameters, of the encoder in parameters and
pictures. They have the same weights, and outputs and gradients must agree before anything is timed.
Steps: ours as training runs them, duals certified; PyTorch's with geomloss at `scaling` 0.5, which
promises no accuracy, and Adam. Both start from the same players, some steps into a training.
PyTorch runs eagerly; of its two layouts of memory the faster counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

from otgan.config import Config
from otgan.data import load
from otgan.errors import UserError
from otgan.experiments import resolve
from otgan.models import make_encoder, make_generator
from scripts.bench import twins
from scripts.bench.measuring import (
    Raw,
    conditions,
    ending,
    in_turn,
    milliseconds,
    missing,
    versions,
)
from scripts.bench.steps import OurSteps, TwinSteps

AGREEMENT = 1e-4  # of outputs and gradients, over the largest value
OURS = "otgan"
ROWS = (
    ("sinkhorn-mnist", "generator"),
    ("ot-gan-mnist", "encoder"),
    ("sinkhorn-cifar10", "generator"),
    ("sinkhorn-cifar10", "encoder"),
    ("sinkhorn-mnist", "step"),
    ("sinkhorn-cifar10", "step"),
)
BEFORE = 100  # steps, from which the players start
AT_ONCE = 8  # steps of one repetition: whole turns of generator and encoder
SMALL = {"batch.size": 8, "generator.width": 8, "cost.encoder.width": 8}
PEER = ("torch", "geomloss")


def main() -> None:
    """Parse, compare, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("bench/networks.json"))
    parser.add_argument("--recipes", nargs="+", help="rows of these only")
    parser.add_argument("--without-data", action="store_true", help="steps on random pictures")
    parser.add_argument("--small", action="store_true", help="the same, and batches of 8")
    parser.add_argument("--seconds", type=float, default=30, help="of repetitions of a row")
    args = parser.parse_args()
    recipes = args.recipes or [recipe for recipe, _ in ROWS]
    if unknown := set(recipes) - {recipe for recipe, _ in ROWS}:
        raise UserError(f"no row is of {min(unknown)}: there are {', '.join(dict(ROWS))}")
    args.made_up = args.small or args.without_data
    absent = missing(PEER)
    raw = Raw(
        args.out,
        points="stand-in" if args.made_up else "data sets",
        size="small" if args.small else "whole",
        versions=versions(PEER),
    )
    for recipe, what in ROWS:
        if recipe in recipes:
            key = {"recipe": recipe, "what": what}
            record = raw.find("rows", **key)
            if record is None:
                record = raw.put("rows", key, measured(recipe, what, absent, args))
            print(told(record), flush=True)


def measured(recipe: str, what: str, absent: list[str], args: argparse.Namespace) -> dict[str, Any]:
    """A row of the table."""
    config, before = resolve(recipe, SMALL if args.small else {}), conditions()
    if what == "step":
        examples = random_pictures(config) if args.made_up else np.asarray(load(config.data).train)
        warm = AT_ONCE if args.small else BEFORE
        found = measure_steps(config, examples, warm, not absent, args.seconds)
    else:
        found = measure_network(config, what, "torch" not in absent, args.seconds)
    return {"batch": config.batch.size, **found, "conditions": before}


# --- networks -------------------------------------------------------------------------------------


def measure_network(
    config: Config, network: str, with_torch: bool, seconds: float
) -> dict[str, Any]:
    """Forward and gradient of one network, after it is seen to be the same in both."""
    shape = shape_of(config)
    ours, parameters, x, pull = our_network(config, network, shape)
    calls: dict[str, Callable[[], Any]] = {OURS: lambda: ours(parameters, x)}
    if with_torch:
        for layout in twins.LAYOUTS:
            calls[f"PyTorch, {layout}"] = twin_network(
                config, network, shape, layout, parameters, x, pull
            )
    first, taken = in_turn(calls, seconds)
    output, gradients = first.pop(OURS)
    off = max((apart(output, gradients, theirs) for theirs in first.values()), default=None)
    if off is not None and not off <= AGREEMENT:
        raise UserError(f"the {network} is another in PyTorch: {off:.1e} apart")
    return {"off": off, **_summed(taken)}


def our_network(
    config: Config, network: str, shape: tuple[int, ...]
) -> tuple[Callable[..., Any], Any, jax.Array, jax.Array]:
    """Forward and gradient, compiled; and what they are called with: parameters, an input, and what
    pulls at the output.
    """
    key = random.key(0)
    if network == "generator":
        made = make_generator(config.generator, shape, 0.0, 1.0, config.train.precision)
        x, moves = random.normal(key, (config.batch.size, config.generator.latent_dim)), (0,)
    else:
        made = make_encoder(config.cost.encoder, shape, 0.0, 1.0, config.train.precision)
        x, moves = random.uniform(key, (config.batch.size, *shape), minval=-1), (0, 1)
    parameters = made.init(random.fold_in(key, 1))
    output = jax.eval_shape(made.apply, parameters, x)
    pull = random.normal(random.fold_in(key, 2), output.shape)

    def pulled(parameters: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        output = made.apply(parameters, x)
        return jnp.vdot(output, pull), output

    graded = jax.jit(jax.value_and_grad(pulled, argnums=moves, has_aux=True))

    def forward_and_gradient(parameters: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        (_, output), gradients = graded(parameters, x)
        return output, gradients

    return forward_and_gradient, parameters, x, pull


def twin_network(
    config: Config,
    network: str,
    shape: tuple[int, ...],
    layout: twins.Layout,
    parameters: Any,
    x: jax.Array,
    pull: jax.Array,
) -> Callable[[], tuple[Any, twins.Tensors]]:
    """The same in PyTorch: the output, and gradients by name; that in pictures is called "x"."""
    torch = import_module("torch")
    device = twins.device()
    moving = twins.moving(twins.tensors(jax.device_get(parameters), device))
    given = torch.from_numpy(np.array(x)).to(device).requires_grad_(network == "encoder")
    pulling = torch.from_numpy(np.array(pull)).to(device)
    apply = (
        twins.generator(config.generator, shape, layout)
        if network == "generator"
        else twins.encoder(config.cost.encoder, layout)
    )
    asked = {**moving, **({"x": given} if network == "encoder" else {})}

    def call() -> tuple[Any, twins.Tensors]:
        output = apply(moving, given)
        found = torch.autograd.grad(output, [*asked.values()], pulling)
        twins.finish(device)
        return output, dict(zip(asked, found, strict=True))

    return call


def apart(output: Any, gradients: Any, theirs: Any) -> float:
    """The largest difference of output and gradients, each over its largest value."""
    their_output, their_gradients = theirs
    found = [
        twins.difference(output, their_output),
        twins.differences(gradients[0], their_gradients),
    ]
    if len(gradients) > 1:
        found.append(twins.difference(gradients[1], their_gradients["x"]))
    return max(found)


# --- steps ----------------------------------------------------------------------------------------


def measure_steps(
    config: Config, examples: np.ndarray, before: int, with_torch: bool, seconds: float
) -> dict[str, Any]:
    """Training steps of a recipe, milliseconds of one, `before` steps into a training."""
    ours = OurSteps(config, examples)
    ours.take(before)
    calls: dict[str, Callable[[], Any]] = {OURS: partial(ours.take, AT_ONCE)}
    if with_torch:
        players = jax.device_get(ours.state.players)
        for layout in twins.LAYOUTS:
            twin = TwinSteps(config, examples, players, layout)
            calls[f"PyTorch, {layout}"] = partial(twin.take, AT_ONCE)
    _, taken = in_turn(calls, seconds)
    each = {name: [one / AT_ONCE for one in times] for name, times in taken.items()}
    return _summed(each)


def random_pictures(config: Config) -> np.ndarray:
    """In place of a data set."""
    return np.random.default_rng(0).integers(0, 256, (1_000, *shape_of(config)), np.uint8)


def shape_of(config: Config) -> tuple[int, int, int]:
    """Of a picture."""
    return (28, 28, 1) if config.data.kind == "mnist" else (32, 32, 3)


def _summed(taken: dict[str, list[float]]) -> dict[str, Any]:
    medians = {name: milliseconds(times) for name, times in taken.items()}
    return {"milliseconds": medians, "seconds": taken}


def told(record: dict[str, Any]) -> str:
    """A row in a line."""
    of = dict(record["milliseconds"])
    ours = of.pop(OURS)
    beside = ", ".join(f"{name} {taken:.1f} ({ours / taken:.2f})" for name, taken in of.items())
    return (
        f"{record['recipe']}, {record['what']}: {ours:.1f} ms"
        f"{f'; {beside} (ours over it)' if of else ', no peer'}"
    )


if __name__ == "__main__":
    ending(main)
