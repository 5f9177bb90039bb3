"""`otgan eval`: from what was typed to subjects, data and features, judged one by one, and kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from otgan import experiments
from otgan.config import Measures
from otgan.config.data import Data, Grid, Images, Stacked, UserData
from otgan.data import Dataset, load
from otgan.errors import UserError
from otgan.evaluation.judge import Judged, Plan, judge, records
from otgan.evaluation.measures import FLAGS
from otgan.evaluation.protocol import append_scores
from otgan.evaluation.seen import neutral_name, trained_on
from otgan.evaluation.subjects import Subject, newest_run, of_files, of_run
from otgan.features import make_features
from otgan.models.resize import Convention
from otgan.pictures import save_sheet
from otgan.restore import kept_steps, read_form
from otgan.runs import RUNS, RunFolder

NAMED: dict[str, Data] = {
    "mnist": Images(kind="mnist"),
    "sample": Images(kind="mnist", source="sample"),
    "cifar10": Images(kind="cifar10"),
    "stacked-mnist": Stacked(),
    "grid": Grid(),
}
"""Real data that `--reference` knows by name."""


@dataclass(frozen=True)
class Order:
    """What was typed; see `otgan eval --help`."""

    subject: Path | None = None
    flags: tuple[Measures, ...] = ()
    everything: bool = False
    features: str | None = None
    samples: int | None = None
    split: Literal["test", "train"] = "test"
    seeds: int = 1
    checkpoint: str | None = None
    batch_size: int = 200
    reference: str | None = None
    resize: Convention = "tf1"
    rounded: bool = True
    allow_few: bool = False
    out: Path | None = None
    data_dir: Path | None = None


class Report(NamedTuple):
    """One subject's scores."""

    records: list[dict[str, Any]]
    notes: list[str]
    places: list[str]  # where they were written


def evaluate(order: Order, show: Callable[[str], None]) -> Iterator[Report]:
    """Judge a subject, or every kept checkpoint of a run, one after the other."""
    path = order.subject or newest_run(RUNS).path
    folder = RunFolder(path) if RunFolder(path).exists else None
    if not path.exists():
        raise UserError(f"{path} does not exist: name a run folder, an .npz or a folder of images")
    data = reference_data(order.reference, folder, path)
    out = order.out or (folder.eval if folder else None)
    if out:
        _require_writable(out)
    show("reading data")
    found, shape = subjects(order, folder, path)
    dataset = load(data, order.data_dir)
    if isinstance(data, UserData):  # a user's grey pictures may be compared with pictures in colour
        dataset = dataset.with_channels_of(shape)
    seen = trained_on(experiments.resolve(str(folder.config_path))) if folder else ()
    features = make_features(order.features or neutral_name(data.kind, dataset.shape, seen), dataset.shape, order.resize, show)
    plan = plan_of(order, dataset)
    for subject in found:
        judged = judge(plan, subject, dataset, features, show)
        yield Report(records(judged, subject), judged.notes, keep(judged, subject, out) if out else [])


def _require_writable(out: Path) -> None:
    """Leaves nothing behind where what is asked for is refused later."""
    there = next(place for place in (out.resolve(), *out.resolve().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UserError(f"cannot write to {out}; give --out a folder that can be written")


def plan_of(order: Order, dataset: Dataset) -> Plan:
    """The measures that are asked for, or those that are quick and suit the data."""
    quick: tuple[Measures, ...] = ("fid",) if dataset.is_images else ("wasserstein", "modes")
    flags = FLAGS if order.everything else order.flags or quick
    lenient = order.everything or not order.flags
    return Plan(flags, order.samples, order.split, order.seeds, order.rounded, order.batch_size, order.allow_few, lenient)


def reference_data(name: str | None, folder: RunFolder | None, path: Path) -> Data:
    """The data that a subject is compared with: those that are named, else the run's own.

    Raises:
        UserError: neither is known.
    """
    if name is None and folder is None:
        known = ", ".join(NAMED)
        raise UserError(f"{path} is no run, so say what to compare it with: --reference {known}, or an .npz or a folder of images")
    if name is None:
        assert folder is not None
        return experiments.resolve(str(folder.config_path)).data
    if name not in NAMED and not Path(name).exists():
        raise UserError(f"there are no data {name!r} to compare with: choose {', '.join(NAMED)}, or an .npz or a folder of images")
    return NAMED.get(name) or UserData(path=str(Path(name).resolve()))


def subjects(order: Order, folder: RunFolder | None, path: Path) -> tuple[Iterator[Subject], tuple[int, ...]]:
    """What is to be judged, and the shape of its examples.

    Raises:
        UserError: there is nothing, or no such checkpoint.
    """
    if folder is None:
        if order.checkpoint is not None:
            raise UserError(f"--checkpoint is for runs, and {path} is none")
        subject = of_files(path, order.seeds)
        return iter([subject]), subject.shape
    if order.checkpoint == "all":
        steps: list[int | None] = [*kept_steps(folder)]
    else:
        steps = [_step(order.checkpoint)]
    return (of_run(folder, step, order.rounded) for step in steps), read_form(folder).shape


def _step(word: str | None) -> int | None:
    if word is None or word.isdecimal():
        return None if word is None else int(word)
    raise UserError(f"--checkpoint {word}: give a step, or all")


def keep(judged: Judged, subject: Subject, out: Path) -> list[str]:
    """Append scores that are not there yet, and draw the neighbours. Returns where.

    Raises:
        UserError: they cannot be written.
    """
    path = out / "scores.jsonl"
    try:
        out.mkdir(parents=True, exist_ok=True)
        append_scores(path, records(judged, subject))
        if judged.neighbours is None:
            return [str(path)]
        picture = out / (f"nearest-{subject.step:07d}.png" if subject.step is not None else "nearest.png")
        save_sheet(judged.neighbours.reshape(-1, *judged.neighbours.shape[2:]), picture)
        return [str(path), str(picture)]
    except OSError as error:
        raise UserError(f"cannot write to {out} ({error.strerror}); make room, or give --out another folder") from None
