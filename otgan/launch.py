"""A run from a config: check everything that can be checked, claim the folder, train, say how it
ended.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from otgan import experiments
from otgan.assembly import TrainSetup, assemble
from otgan.budgets import USED_BY, rising_again
from otgan.config import Config, Effect, marked
from otgan.data import Dataset
from otgan.errors import UserError
from otgan.following import follow
from otgan.hosts import ALONE, Hosts
from otgan.loggers import require
from otgan.loop import RunResult, Show, train
from otgan.plain import flat
from otgan.restore import has_checkpoint
from otgan.results.ending import accounted
from otgan.results.extension import extend, overrun
from otgan.results.quantities import recorded
from otgan.runs import RUNS, RunFolder, new_folder
from otgan.signals import at_once

LIBRARIES = ("otgan", "jax", "jaxlib", "flax", "optax", "ott-jax", "orbax-checkpoint", "numpy")


def launch(
    config: Config,
    out: Path | None,
    changes: Mapping[str, Any],
    data_dir: Path | None,
    devices: int | None,
    show: Show,
    said: tuple[str, ...] = (),
    hosts: Hosts = ALONE,
) -> RunResult:
    """Train a config in a folder of its own, or resume it in the folder `out`; of several processes
    (`hosts`) this is the one that leads, and the others `join_in`.

    Nothing is written before everything is checked.

    What was changed of the experiment, by dotted key, is a part of a new folder's name, unless it
    is about what is shown. `said` are
    the words after `otgan` on the command line, which a run that is interrupted says again.

    Raises:
        UserError: the data are not there, the devices do not fit the batch, or the folder is
            another run's or cannot be written.
    """
    folder = RunFolder(out, said) if out else None
    if folder and folder.exists:
        check_same(config, folder)
    elif folder:
        folder.require_free()
    require(config.train.loggers)
    begun = folder is not None and has_checkpoint(folder)
    hosts.tell(begun)
    with at_once():
        setup = assemble(config, begun=begun, data_dir=data_dir, devices=devices, note=show.note)
    check_others(setup, hosts.gather())
    labels = [
        f"{key.rpartition('.')[2]}{value}"
        for key, value in changes.items()
        if key not in marked(Config, Effect.VIEW)
    ]
    folder = folder or new_folder(RUNS, config.name, labels, said)
    with folder.locked(), accounted(folder):
        if folder.exists:  # perhaps since a moment ago, by another process
            check_same(config, folder)
            renew(config, folder, show)
        else:
            folder.create(config.json())
        return go_on(setup, folder, show, hosts)


def join_in(config: Config, data_dir: Path | None, devices: int | None, hosts: Hosts) -> None:
    """Train a config as another process says that leads.

    Raises:
        EndedError: the leader says that it is over.
        UserError: the data are not there, or others than the leader's; the leader failed or is
            gone.
    """
    with at_once():
        setup = assemble(config, begun=hosts.hear(), data_dir=data_dir, devices=devices)
    hosts.tell(facts(setup))
    follow(setup, hosts)


def facts(setup: TrainSetup) -> dict[str, Any]:
    """What must be the same in all processes of a run, by the word for it."""
    return {
        "data set": setup.dataset.fingerprint,
        "place of the data (data.max_memory)": "disk" if setup.dataset.on_disk else "memory",
        "network's weights": setup.sight["digest"] if setup.sight else None,
        "source": setup.judge.source.fingerprint if setup.judge.source else None,
        "number of devices": f"{setup.mesh.size} of {jax.device_count()}",
        "kind of device": jax.local_devices()[0].device_kind,
        "version of JAX": version("jax"),
    }


def check_others(setup: TrainSetup, theirs: list[dict[str, Any]]) -> None:
    """Refuse to train together with processes that see something else.

    Raises:
        UserError: naming what they see otherwise.
    """
    mine = facts(setup)
    for index, there in enumerate(theirs, start=1):
        differing = [
            f"{word} ({mine[word]} in process 0, {there.get(word)} there)"
            for word in mine
            if mine[word] != there.get(word)
        ]
        if differing:
            raise UserError(f"process {index} sees another {' and another '.join(differing)}")


def go_on(setup: TrainSetup, folder: RunFolder, show: Show, hosts: Hosts = ALONE) -> RunResult:
    """Train in a folder that holds the config, from its newest checkpoint if it has one.

    The caller holds the folder's lock.

    Raises:
        UserError: the folder's run was begun with other data, or with other weights of the network
            that its cost looks through.
    """
    begun = has_checkpoint(folder)
    if begun:
        check_data(setup.dataset, folder)
        check_sight(setup.sight, folder)
    folder.write_environment(describe(setup), begun)
    return train(setup, folder, show, hosts)


def check_same(config: Config, folder: RunFolder) -> None:
    """Refuse to go on in a folder with another config than the one it was begun with.

    It may go further.

    Raises:
        UserError: naming the keys that differ.
    """
    there = experiments.resolve(str(folder.config_path))
    free = (Effect.EXTENT, Effect.SAMPLES, Effect.VIEW)
    differing = experiments.differences(there, config, free)
    if differing:
        raise UserError(
            f"{folder.path} holds a run with another config: {'; '.join(differing)}. Give --out"
            " another folder"
        )
    if lowered := overrun(folder, config):
        raise UserError(
            f"{folder.path} was trained for longer than that: {'; '.join(lowered)}. Give as much as"
            " was there or more, or --out another folder"
        )


def renew(config: Config, folder: RunFolder, show: Show) -> None:
    """Let a folder's record be of the config that goes on there: what may differ from the one that
    it was begun with is how far it goes, and what is shown of it.
    """
    raised = extend(folder, config)
    if raised and has_checkpoint(folder):
        again = rising_again(config)
        show.note(f"goes on for longer: {'; '.join(raised)}{'. ' if again else ''}{again}")


def check_data(dataset: Dataset, folder: RunFolder) -> None:
    """Refuse to go on with other data than the run was begun with.

    Raises:
        UserError: they are others.
    """
    there = folder.read_environment()["data"]["fingerprint"]
    if there != dataset.fingerprint:
        raise UserError(
            f"{folder.path} was begun with other data (fingerprint {there}, now"
            f" {dataset.fingerprint}). Give --out another folder"
        )


def check_sight(sight: dict[str, Any] | None, folder: RunFolder) -> None:
    """Refuse to go on with other weights than those that the run's cost has looked through so far.

    Raises:
        UserError: they are others.
    """
    there = folder.read_environment().get("sight")
    if sight and there and sight["digest"] != there["digest"]:
        what = f"{there['digest']}, now {sight['digest']}"
        raise UserError(
            f"{folder.path} was begun with other weights of {sight['network']} ({what}). Give --out"
            " another folder"
        )


def describe(setup: TrainSetup) -> dict[str, Any]:
    """Where a run runs, and on which data."""
    dataset = setup.dataset
    return {
        "versions": {name: version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": [str(device.device_kind) for device in setup.mesh.devices.flat],
        "command": sys.argv,
        "budgets": {key: flat(setup.config.model_dump(mode="json"))[key] for key in USED_BY},
        "gap_kind": setup.system.family.gap_kind,
        "gap_of": setup.config.oracle.REACHING,
        "data": {
            "name": dataset.name,
            "train": len(dataset.train),
            "held_out": len(dataset.test),
            "on_disk": dataset.on_disk,
            "fingerprint": dataset.fingerprint,
            "form": setup.system.form.record(),
            **({"columns": [*dataset.columns]} if dataset.columns else {}),
            **({"notes": [*dataset.notes]} if dataset.notes else {}),
        },
        **({"sight": setup.sight} if setup.sight else {}),
        **({"quantities": own} if (own := recorded(setup.system.family.quantities)) else {}),
    }
