"""Compare schedules of OTS by the processor time that they need to spread the mass evenly, and by
the semi-dual value that they reach.

Every schedule starts from its own zero, on the same fixed generator and data, and stops when the
authors' band holds over its memory: every bin of the histogram (1,000 bins over the training
points' indices) between 200/256 and 320/256 of the mean bin. Balance alone can be had with coarse
potentials, so the value of the semi-dual on fresh batches is reported beside it: the larger, the
nearer to the optimum.

    python scripts/ots_schedules.py grid --seeds 3
    python scripts/ots_schedules.py digits --seeds 3
    python scripts/ots_schedules.py mnist --generator runs/00007-sinkhorn-mnist --max-samples 640000

The time is that of the process, without compilation: run it with the machine to itself, or pinned
to a core.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from otgan import data, experiments
from otgan.batches import make_batch_source, make_held_out
from otgan.data import Form
from otgan.oracles import NOBODY, Players
from otgan.restore import restore
from otgan.runs import RunFolder
from otgan.system import build

# whose data and generator they are, and changes to that experiment
PROBLEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "grid": ("semidiscrete-grid", {}),
    # the package's: 4,500 to learn from, four or five in a bin
    "digits": ("semidiscrete-mnist", {"data.source": "sample"}),
    "mnist": ("semidiscrete-mnist", {}),
}
PAPER = {
    "oracle.schedule": "adam",
    "oracle.start": "inner_product",
    "oracle.ots_batch": 64,
    "oracle.memory": 4_000,
    "oracle.chunk": 250,
    "oracle.check_every": 1_000,
}
OF_DIGITS: dict[str, dict[str, Any]] = {
    "the authors'": PAPER,
    "Adam, our window": {
        **PAPER,
        "oracle.memory": 2_048,
        "oracle.chunk": 64,
        "oracle.check_every": 256,
    },
    "ours": {
        "oracle.chunk": 16,
        "oracle.smoothing_steps": 64,
        "oracle.memory": 512,
        "oracle.check_every": 64,
    },
}
SCHEDULES: dict[str, dict[str, dict[str, Any]]] = {
    "grid": {
        "the authors'": PAPER,
        "ours": {
            "oracle.ots_batch": 128,
            "oracle.chunk": 32,
            "oracle.smoothing_steps": 96,
            "oracle.memory": 512,
            "oracle.check_every": 128,
        },
    },
    "digits": OF_DIGITS,
    "mnist": OF_DIGITS,
}
# the problem: shuffled data and the authors' histogram, whatever the experiments have by now
SHARED = {
    "batch.draw": "iid",
    "batch.size": 64,
    "oracle.bins": 1_000,
    "oracle.increment": "0.01x",
    "oracle.stop": "band",
    "oracle.max_ots_steps": 64_000,
    "oracle.fit_updates": 1,
}


def main() -> None:
    """Run every schedule on every seed, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("problem", choices=PROBLEMS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--generator",
        type=Path,
        help="folder of a run whose generator is taken; by default a fresh one",
    )
    parser.add_argument(
        "--max-samples",
        type=int,
        default=1_280_000,
        help="generated points at most: the authors' 20,000 batches of 64",
    )
    options = parser.parse_args()
    experiment, problem = PROBLEMS[options.problem]
    print(
        "schedule           seed   met  seconds   samples     value plan cost  least  worst   chi2"
    )
    for seed in range(options.seeds):
        for name, changes in SCHEDULES[options.problem].items():
            base = experiments.resolve(
                experiment, {**SHARED, **problem, **changes, "train.seed": seed}
            )
            met, seconds, samples, info, value = ascend(
                base, options.generator, options.max_samples
            )
            numbers = [info[key] for key in ("plan_cost", "least_bin", "worst_bin", "chi_square")]
            columns = (
                f"{value:9.3f} {numbers[0]:9.3f} {numbers[1]:6.2f} {numbers[2]:6.2f}"
                f" {numbers[3]:6.2f}"
            )
            print(
                f"{name:18} {seed:4} {met!s:>5} {seconds:8.1f} {samples:9,} {columns}", flush=True
            )


def ascend(
    config: Any, generator: Path | None, most: int
) -> tuple[bool, float, int, dict[str, float], float]:
    """One round: whether the band was met, the seconds and samples that it took, the last chunk's
    numbers, the value on fresh batches.
    """
    initial = NOBODY
    if generator is not None:
        run = restore(RunFolder(generator))
        config, initial = (
            config.model_copy(update={"generator": run.config.generator}),
            Players(run.state.average),
        )
    dataset = data.load(config.data)
    batches = jax.tree.map(
        jnp.asarray, make_batch_source(dataset, config.batch, config.generator.latent_dim)
    )
    system = build(config, Form.of(dataset))
    train = system.stepper.init(initial)
    solve = jax.jit(lambda state, key: system.family.solve(state, train.players, batches, key)[::2])
    state, key = train.dual, jax.random.key(config.train.seed)
    solve = solve.lower(state, key).compile()
    seconds, samples, info = 0.0, 0, {}
    while samples < most:
        began = time.process_time()
        after, info = jax.block_until_ready(solve(state, jax.random.fold_in(key, samples)))
        seconds += time.process_time() - began
        state, samples = after, samples + config.oracle.chunk * config.oracle.ots_batch
        if info["ready"]:
            break
    held_out = make_held_out(dataset)
    judged = jax.jit(
        lambda s: system.family.final_metrics(
            s, train.players, batches, held_out, jax.random.key(2_019)
        )
    )(state)
    return (
        bool(info["ready"]),
        seconds,
        samples,
        {k: float(v) for k, v in info.items()},
        float(judged["semidual_value"]),
    )


if __name__ == "__main__":
    main()
