"""A run from a config: check everything that can be checked, claim the folder, train, say how it ended."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from otgan import experiments
from otgan.config import Config, Effect, PretrainedRun
from otgan.data import Dataset, load, load_source
from otgan.errors import UserError
from otgan.groups import make_sight
from otgan.loop import Outcome, Ready, Show, prepare, train
from otgan.oracles import NOBODY, Players
from otgan.restore import has_checkpoint, restore
from otgan.results.ending import accounted
from otgan.results.quantities import Known, recorded
from otgan.results.state import RunState
from otgan.runs import RUNS, RunFolder, new_folder
from otgan.system import make_mesh
from otgan.weights.catalog import embedded

LIBRARIES = ("otgan", "jax", "jaxlib", "flax", "optax", "ott-jax", "orbax-checkpoint", "numpy")


class Ended(NamedTuple):
    """How a run ended, and where to look."""

    state: RunState
    summary: dict[str, Any]
    known: Known  # what its numbers are
    picture: str
    folder: str
    reason: str


def launch(config: Config, out: Path | None, labels: list[str], data_dir: Path | None, devices: int | None, show: Show) -> Ended:
    """Train a config in a folder of its own, or resume it in the folder `out`. Nothing is written before everything is checked.

    Raises:
        UserError: the data are not there, the devices do not fit the batch, or the folder is another run's or cannot be written.
    """
    folder = RunFolder(out) if out else None
    if folder and folder.exists:
        check_same(config, folder)
    elif folder:
        folder.require_free()
    ready = assemble(config, folder, data_dir, devices, show.note)
    folder = folder or new_folder(RUNS, config.name, labels)
    with folder.locked(), accounted(folder):
        if folder.exists:  # perhaps since a moment ago, by another process
            check_same(config, folder)
        else:
            folder.create(config.json())
        outcome = go_on(ready, folder, show)
    return Ended(outcome.state, outcome.summary, ready.system.stepper.known, outcome.picture, str(folder.path), outcome.reason)


def assemble(
    config: Config, folder: RunFolder | None, data_dir: Path | None, devices: int | None, note: Callable[[str], None] = lambda text: None
) -> Ready:
    """Put together what a run needs, whether it begins or goes on in a folder. Nothing is written; `note` is told of what takes a while.

    Raises:
        UserError: the data are not there, the devices do not fit the batch, or what the run borrows does not fit.
    """
    check_devices(config, devices)
    dataset = load(config.data, data_dir)
    begun = folder is not None and has_checkpoint(folder)  # then it has its own copy of what it borrowed
    given = NOBODY if begun else borrow(config, dataset)
    return prepare(config, dataset, devices, load_source(config, dataset.shape), given, make_sight(config.cost, dataset, note))


def go_on(ready: Ready, folder: RunFolder, show: Show) -> Outcome:
    """Train in a folder that holds the config, from its newest checkpoint if it has one. The caller holds the folder's lock.

    Raises:
        UserError: the folder's run was begun with other data, or with other weights of the network that its cost looks through.
    """
    begun = has_checkpoint(folder)
    if begun:
        check_data(ready.dataset, folder)
        check_sight(ready.sight, folder)
    folder.write_environment(describe(ready), begun)
    return train(ready, folder, show)


def check_devices(config: Config, devices: int | None) -> None:
    """Refuse a batch that the devices cannot share equally.

    Raises:
        UserError: they cannot.
    """
    count = make_mesh(devices).size
    for size, flag in ((config.batch.size, "--batch-size"), (config.batch.real, "--reals")):
        if size % count:
            near = max(count, round(size / count) * count)
            raise UserError(f"a batch of {size} cannot be shared equally by {count} devices; try {flag} {near}")


def borrow(config: Config, dataset: Dataset) -> Players:
    """The parameters that a run does not draw: a frozen generator's, those of its cost's encoder.

    Raises:
        UserError: a folder holds no such run, or one of other data.
    """
    generator = encoder = None
    if isinstance(config.source, PretrainedRun):
        folder = RunFolder(Path(config.source.path))
        donor = restore(folder)
        there = folder.read_environment()["data"]
        if there["fingerprint"] != dataset.fingerprint:
            what = f"{there['name']} with fingerprint {there['fingerprint']} there, {dataset.name} with {dataset.fingerprint} now"
            raise UserError(f"{folder.path} was trained on other data ({what}): a map is fitted between a generator and its own data")
        if donor.config.generator != config.generator:
            raise UserError(f"the section generator must be that of {folder.path}, whose parameters are taken")
        generator = donor.state.average
    if config.cost.features in config.cost.TRAINED:
        encoder = {"params": embedded(config.cost.features).parameters}
    elif config.cost.donor:
        donor = restore(RunFolder(Path(config.cost.donor)))
        if donor.form.shape != dataset.shape:
            raise UserError(f"the encoder of {config.cost.donor} reads examples of shape {donor.form.shape}, not {dataset.shape}")
        encoder = donor.state.players.encoder
    return Players(generator, encoder)


def check_same(config: Config, folder: RunFolder) -> None:
    """Refuse to go on in a folder with another config than the one it was begun with.

    Raises:
        UserError: naming the keys that differ.
    """
    there = experiments.resolve(str(folder.config_path))
    differing = experiments.differences(there, config, (Effect.EXTENT, Effect.VIEW))
    if differing:
        raise UserError(f"{folder.path} holds a run with another config: {'; '.join(differing)}. Give --out another folder")


def check_data(dataset: Dataset, folder: RunFolder) -> None:
    """Refuse to go on with other data than the run was begun with.

    Raises:
        UserError: they are others.
    """
    there = folder.read_environment()["data"]["fingerprint"]
    if there != dataset.fingerprint:
        raise UserError(
            f"{folder.path} was begun with other data (fingerprint {there}, now {dataset.fingerprint}). Give --out another folder"
        )


def check_sight(sight: dict[str, Any] | None, folder: RunFolder) -> None:
    """Refuse to go on with other weights than those that the run's cost has looked through so far.

    Raises:
        UserError: they are others.
    """
    there = folder.read_environment().get("sight")
    if sight and there and sight["digest"] != there["digest"]:
        what = f"{there['digest']}, now {sight['digest']}"
        raise UserError(f"{folder.path} was begun with other weights of {sight['network']} ({what}). Give --out another folder")


def describe(ready: Ready) -> dict[str, Any]:
    """Where a run runs, and on which data."""
    dataset = ready.dataset
    return {
        "versions": {name: version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": [str(device.device_kind) for device in ready.mesh.devices.flat],
        "command": sys.argv,
        "gap_kind": ready.system.family.gap_kind,
        "gap_of": ready.config.oracle.REACHING,
        "data": {
            "name": dataset.name,
            "train": len(dataset.train),
            "held_out": len(dataset.test),
            "fingerprint": dataset.fingerprint,
            "form": ready.system.form.record(),
        },
        **({"sight": ready.sight} if ready.sight else {}),
        **({"quantities": own} if (own := recorded(ready.system.family.quantities)) else {}),
    }
