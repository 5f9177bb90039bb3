"""Where generated examples come from: a run at a checkpoint, or somebody's examples in a file or a
folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from otgan.config import UserData
from otgan.data import load_source, read_user_data
from otgan.errors import UserError
from otgan.evaluation.neutrality import TrainingNetwork, training_networks
from otgan.restore import restore
from otgan.runs import RunFolder
from otgan.sampling import CHUNK, draw

# of the order in which a file's examples are taken: files are often sorted by class
ORDER_SEED = 2021


class SampleSource(NamedTuple):
    """Examples to be judged."""

    name: str  # its path
    step: int | None  # of the checkpoint
    draw: Callable[[int], Iterable[np.ndarray]]  # chunks of the examples of a seed
    available: int | None  # in all; None without end
    shape: tuple[int, ...] = ()  # of an example
    # the networks whose features were its cost; of files it is not known
    trained_on: tuple[TrainingNetwork, ...] = ()
    notes: tuple[str, ...] = ()  # on how it was read


def of_run(folder: RunFolder, step: int | None, rounded: bool) -> SampleSource:
    """A run's averaged generator at a checkpoint, the newest by default.

    Raises:
        UserError: there is no such run or checkpoint.
    """
    run = restore(folder, step)
    source = load_source(run.config, run.form.shape)
    examples = jnp.asarray(source.train) if source else None

    def drawn(seed: int) -> Iterator[np.ndarray]:
        return draw(run.system, run.state, seed, examples, rounded)

    return SampleSource(
        str(folder.path.resolve()),
        run.step,
        drawn,
        None,
        run.form.shape,
        training_networks(run.config),
    )


def of_files(path: Path, seeds: int) -> SampleSource:
    """Examples of a file or a folder.

    Raises:
        UserError: there are none, or they cannot be read.
    """
    found = read_user_data(UserData(path=str(path)))
    return of_examples(np.asarray(found.values), seeds, str(path.resolve()))._replace(
        notes=found.notes
    )


def of_examples(examples: np.ndarray, seeds: int, name: str) -> SampleSource:
    """Examples that are there, shuffled once and dealt to the seeds.

    Raises:
        UserError: they are too few.
    """
    if not len(examples):
        raise UserError(f"{name} holds no examples")
    if seeds > len(examples):
        raise UserError(
            f"{name} holds {len(examples)} examples, which cannot be dealt to {seeds} seeds"
        )
    order = np.random.default_rng(ORDER_SEED).permutation(len(examples))
    each = len(examples) // seeds

    def deal(seed: int) -> Iterator[np.ndarray]:
        mine = order[seed * each : (seed + 1) * each]
        yield from (examples[mine[i : i + CHUNK]] for i in range(0, each, CHUNK))

    return SampleSource(name, None, deal, len(examples), examples.shape[1:])


def newest_run(root: Path) -> RunFolder:
    """The run in a folder of runs that was at work last.

    Raises:
        UserError: there is none.
    """
    runs = [RunFolder(path) for path in root.iterdir()] if root.is_dir() else []
    begun = [run for run in runs if run.exists]
    if not begun:
        raise UserError(
            f"there is no run in {root}: name a run folder, a file of examples or a folder of"
            " images"
        )
    return max(begun, key=lambda run: run.last_touched)
