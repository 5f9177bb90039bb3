"""How much mass gets from one mode to another that is far away: by drifting, and by the certified
plans of the Sinkhorn loss.

The data are two narrow Gaussians with half of the mass each; the generated points start in both
with masses of 0.9 and 0.1, or in the first alone. Drifting's temperatures are multiples of the mean
distance, so that "far" means far in units of that, however far the modes are. Both families take
the same number of steps on batches of the same size, by the same optimizer. The generator is either
the points themselves, which nothing holds back, or a network that was trained to the wrong masses
first.

    python scripts/drifting_failure.py
    python scripts/drifting_failure.py --generators network --steps 4000 --seeds 3
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from otgan import experiments
from otgan.batches import BatchSource
from otgan.config import Config
from otgan.data import Form
from otgan.models import Network, make_generator
from otgan.oracles import Players, make_family
from otgan.problem import make_problem
from otgan.step import Stepper

MODES = np.array([[-4.0, 0.0], [4.0, 0.0]], np.float32)
WIDTH = 0.1  # standard deviation of a mode
SIZE = 256  # of a batch, and of the free points
FORM = Form((2,), False, (0.0, 0.0), 4.0, 1)
STARTS = {"unequal": (0.9, 0.1), "missing": (1.0, 0.0)}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "drifting, 0.02 0.05 0.2": ("drifting-grid", {}),
    "drifting, 0.2 alone": ("drifting-grid", {"oracle.temperatures": [0.2]}),
    "drifting, 1.0 alone": ("drifting-grid", {"oracle.temperatures": [1.0]}),
    "sinkhorn": ("sinkhorn-grid", {"oracle.epsilon": "0.01x", "oracle.anneal": 4.0}),
}
CHANGES = {
    "batch.size": SIZE,
    "generator.width": 64,
    "generator.optimizer": {"b1": 0.5, "b2": 0.99, "clip": 5.0, "schedule": "cosine"},
    "generator.ema": 0.0,
}
LEARNING_RATES = {"points": 5e-2, "network": 2e-3}


def draw(masses: tuple[float, float], size: int, seed: int) -> np.ndarray:
    """Points of both modes, as many in each as its mass says."""
    rng = np.random.default_rng(seed)
    first = round(masses[0] * size)
    return np.repeat(MODES, [first, size - first], axis=0) + WIDTH * rng.standard_normal(
        (size, 2)
    ).astype(np.float32)


def config_of(experiment: str, generator: str, steps: int, changes: dict[str, Any]) -> Config:
    """An experiment of the grid's on these two modes."""
    more = {"generator.optimizer.learning_rate": LEARNING_RATES[generator], "train.steps": steps}
    return experiments.resolve(experiment, {**CHANGES, **more, **changes})


def make_network(generator: str, config: Config) -> Network:
    """Free points, which are their own parameters, or the config's generator."""
    if generator == "points":
        return Network(init=lambda key: None, apply=lambda points, z: points)
    return make_generator(config.generator, FORM.shape, np.asarray(FORM.center), FORM.scale)


def make_trainer(
    config: Config, network: Network
) -> Callable[[Any, np.ndarray], tuple[Any, float]]:
    """From a generator's parameters and examples to its parameters after a config's steps, and the
    share of solves within epsilon.
    """
    problem = make_problem(config, FORM, Players(network))
    stepper = Stepper(config, make_family(config.oracle, problem), problem)

    @jax.jit
    def steps(state: Any, data: BatchSource) -> tuple[Any, Array]:
        def step(state: Any, _: None) -> tuple[Any, Array]:
            state, record = stepper.step(state, data)
            return state, record["dual_converged"]

        return lax.scan(step, state, None, config.train.steps)

    def train(start: Any, examples: np.ndarray) -> tuple[Any, float]:
        state, reached = steps(stepper.init(Players(start)), BatchSource(jnp.asarray(examples)))
        return state.players.generator, float(np.mean(reached))

    return train


def make_starts(
    generator: str, network: Network, config: Config, seeds: int
) -> dict[str, list[Any]]:
    """Parameters with the wrong masses, by start and seed: free points, or a network that the
    Sinkhorn loss trained to them.
    """
    if generator == "points":
        return {
            name: [jnp.asarray(draw(masses, SIZE, seed)) for seed in range(seeds)]
            for name, masses in STARTS.items()
        }
    train = make_trainer(config, network)
    return {
        name: [
            train(network.init(jax.random.key(seed)), draw(masses, 20_000, seed))[0]
            for seed in range(seeds)
        ]
        for name, masses in STARTS.items()
    }


def masses_of(network: Network, parameters: Any, dim: int) -> tuple[float, float]:
    """The share of generated points nearer to the second mode, and of those within three standard
    deviations of either.
    """
    points = np.asarray(
        network.apply(parameters, jax.random.normal(jax.random.key(1), (10_000, dim)))
    )
    distances = np.linalg.norm(points[:, None] - MODES, axis=2)
    return float(np.mean(np.argmin(distances, axis=1))), float(
        np.mean(distances.min(axis=1) < 3 * WIDTH)
    )


def measure(
    family: str, generator: str, starts: dict[str, list[Any]], steps: int
) -> dict[str, np.ndarray]:
    """By start, a row for each seed: the second mode's mass before and after, the share near a
    mode, that of solves within epsilon.
    """
    config = config_of(FAMILIES[family][0], generator, steps, FAMILIES[family][1])
    network, dim = make_network(generator, config), config.generator.latent_dim
    train = make_trainer(config, network)

    def row(start: Any, seed: int) -> list[float]:
        after, reached = train(start, draw((0.5, 0.5), 20_000, seed + 100))
        return [masses_of(network, start, dim)[0], *masses_of(network, after, dim), reached]

    return {
        name: np.asarray([row(start, seed) for seed, start in enumerate(begun)])
        for name, begun in starts.items()
    }


def main() -> None:
    """Print a row for each start and family: mean over the seeds and their range."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--generators", nargs="+", choices=LEARNING_RATES, default=list(LEARNING_RATES)
    )
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    print(
        "| generator | start | family | second mode's mass before | after (right: 0.5) | within 3"
        " sd, % | solves within epsilon, % |"
    )
    print("|---|---|---|---|---|---|---|")
    for generator in args.generators:
        config = config_of("sinkhorn-grid", generator, args.steps, {})
        starts = make_starts(generator, make_network(generator, config), config, args.seeds)
        for family in FAMILIES:
            for start, rows in measure(family, generator, starts, args.steps).items():
                before, after, near, reached = rows.T
                cells = [
                    spread(before, 3),
                    spread(after, 3),
                    spread(100 * near, 0),
                    spread(100 * reached, 0),
                ]
                print("|", " | ".join([generator, start, family, *cells]), "|", flush=True)


def spread(values: np.ndarray, digits: int) -> str:
    """The mean, and the range where there is one."""
    mean, low, high = (
        f"{value:.{digits}f}" for value in (np.mean(values), np.min(values), np.max(values))
    )
    return mean if low == high else f"{mean} ({low} - {high})"


if __name__ == "__main__":
    main()
