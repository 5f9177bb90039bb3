"""A run put together: its devices, data, networks and family, and what else may be refused before
its folder is touched.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from otgan.batches import BatchSource, make_batch_source, make_held_out
from otgan.config import Config, PretrainedRun, Regularized, UserData
from otgan.data import Dataset, Form, Truth, blocks, load, load_source, load_truth
from otgan.data.examples import columns_flag, listed
from otgan.errors import UserError
from otgan.evaluation.training import RunJudge
from otgan.oracles import NOBODY, Players
from otgan.restore import restore
from otgan.runs import RunFolder
from otgan.sight import make_sight, require_groups
from otgan.system import System, build, make_mesh
from otgan.weights.catalog import embedded


class TrainSetup(NamedTuple):
    """All that a run needs."""

    config: Config
    dataset: Dataset
    mesh: Mesh
    system: System
    data: BatchSource
    initial: Players  # parameters of players that do not start anew
    held_out: BatchSource  # examples that no solve sees
    judge: RunJudge
    # what the folder says of the network that the cost looks through
    sight: dict[str, Any] | None = None
    truth: Truth | None = None  # what the map is measured by at the end


def assemble(
    config: Config,
    dataset: Dataset | None = None,
    begun: bool = False,
    data_dir: Path | None = None,
    devices: int | None = None,
    looks: bool = True,
    note: Callable[[str], None] = lambda text: None,
) -> TrainSetup:
    """Put a run together. Nothing is written.

    Args:
        config: the run.
        dataset: its data, where they are loaded already.
        begun: whether it goes on from a checkpoint: then it has its own copy of what it took from
            elsewhere when it began.
        data_dir: where TFDS has prepared data.
        devices: how many to run on; by default all.
        looks: whether to see all training examples through the network of the cost, if it has one:
            without that no step can be taken, but layers that do not fit are refused.
        note: is told of how the data were read, and of what takes a while.

    Raises:
        UserError: the data are not there, the devices do not fit the batch, or networks, the
            source, the truth, what is taken from another run, or the way of drawing batches do not
            fit the data.
    """
    mesh = make_mesh(devices)
    check_batch(config, mesh.size)
    dataset = dataset or load(config.data, data_dir)
    source = load_source(config, dataset.shape)
    for text in (*dataset.notes, *(source.notes if source else ())):
        note(text)
    initial = NOBODY if begun else load_pretrained(config, dataset)
    if source and source.shape != dataset.shape:
        raise UserError(
            f"the source's examples are of shape {source.shape}, the data's of shape"
            f" {dataset.shape}: they must agree"
        )
    truth = load_truth(config, dataset.shape)
    sight = make_sight(config.cost, dataset, note) if looks else None
    if not looks:
        require_groups(config.cost, dataset)
    network, frozen, features, record = (
        (sight.network, sight.parameters, sight.features, sight.record) if sight else (None,) * 4
    )
    data = make_batch_source(
        dataset, config.batch, config.generator.latent_dim, source, frozen, features
    )
    system = build(config, Form.of(dataset), mesh, network)
    if looks:
        check_memory(system, data)
    if system.family.reads is None:
        dataset.in_memory(f"oracle.family = {config.oracle.family!r}")
    judge = RunJudge(config, dataset, system, source)
    judge.require()
    if not begun:
        check_data(config, dataset)
    return TrainSetup(
        config,
        dataset,
        mesh,
        system,
        data,
        initial,
        make_held_out(dataset, source, frozen),
        judge,
        record,
        truth,
    )


def check_batch(config: Config, devices: int) -> None:
    """Refuse a batch that the devices cannot share equally.

    Raises:
        UserError: they cannot.
    """
    for size, flag in ((config.batch.size, "--batch-size"), (config.batch.real, "--reals")):
        if size % devices:
            near = max(devices, round(size / devices) * devices)
            raise UserError(
                f"a batch of {size} cannot be shared equally by {devices} devices; try {flag}"
                f" {near}"
            )


def check_memory(system: System, data: BatchSource) -> None:
    """Refuse a memory that a step's transport cannot keep to, which its sizes alone tell.

    Raises:
        UserError: it cannot.
    """
    oracle = system.stepper.config.oracle
    if isinstance(oracle, Regularized) and oracle.max_memory:
        jax.eval_shape(system.stepper.step, jax.eval_shape(system.stepper.init), data)


def check_data(config: Config, dataset: Dataset) -> None:
    """Refuse data that a run should not begin with; all that is wrong in one message.

    Raises:
        UserError: there are fewer examples than a batch draws, or a column is constant that the
            config does not name.
    """
    mistakes = [*_fewer_than_a_batch(config, dataset), *_constant_columns(config, dataset)]
    if mistakes:
        raise UserError("\n".join(mistakes))


def _fewer_than_a_batch(config: Config, dataset: Dataset) -> list[str]:
    count, asked = len(dataset.train), config.batch.real
    if count >= asked:
        return []
    flag = "--reals" if config.batch.reals else "--batch-size"
    return [
        f"there are {count} examples to learn from, fewer than the {asked} of a batch: give"
        f" {flag} {2 ** (count.bit_length() - 1)}"
    ]


def _constant_columns(config: Config, dataset: Dataset) -> list[str]:
    """Those that a user names are wanted, whatever is in them."""
    if not isinstance(config.data, UserData) or config.data.columns or not dataset.columns:
        return []
    first = dataset.train[0]
    moving = np.any([(block != first).any(axis=0) for block in blocks(dataset.train)], axis=0)
    constant = [*compress(dataset.columns, ~moving)]
    if not constant:
        return []
    return [
        f"columns of {config.data.path} are constant ({listed(constant)}): leave them out with"
        f" {columns_flag(compress(dataset.columns, moving))}, or name them there to keep them"
    ]


def load_pretrained(config: Config, dataset: Dataset) -> Players:
    """The parameters that a run does not draw: a frozen generator's, those of its cost's encoder.

    Raises:
        UserError: a folder holds no such run, or one of other data.
    """
    generator = (
        _pretrained_generator(config, Path(config.source.path), dataset)
        if isinstance(config.source, PretrainedRun)
        else None
    )
    return Players(generator, _pretrained_encoder(config, dataset))


def _pretrained_generator(config: Config, path: Path, dataset: Dataset) -> Any:
    folder = RunFolder(path)
    pretrained = restore(folder)
    there = folder.read_environment()["data"]
    if there["fingerprint"] != dataset.fingerprint:
        what = (
            f"{there['name']} with fingerprint {there['fingerprint']} there, {dataset.name} with"
            f" {dataset.fingerprint} now"
        )
        raise UserError(
            f"{folder.path} was trained on other data ({what}): a map is fitted between a generator"
            " and its own data"
        )
    if pretrained.config.generator != config.generator:
        raise UserError(
            f"the section generator must be that of {folder.path}, whose parameters are taken"
        )
    return pretrained.state.average


def _pretrained_encoder(config: Config, dataset: Dataset) -> Any:
    if config.cost.features in config.cost.TRAINED:
        return {"params": embedded(config.cost.features).parameters}
    if not config.cost.pretrained_run:
        return None
    pretrained = restore(RunFolder(Path(config.cost.pretrained_run)))
    if pretrained.form.shape != dataset.shape:
        what = f"examples of shape {pretrained.form.shape}, not {dataset.shape}"
        raise UserError(f"the encoder of {config.cost.pretrained_run} reads {what}")
    return pretrained.state.players.encoder
