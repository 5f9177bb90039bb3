"""`otgan eval`: from what was typed to samples, data and features, judged one by one, and kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from otgan import experiments
from otgan.config.data import Data, Grid, Images, Stacked, UserData
from otgan.data import load
from otgan.errors import UserError
from otgan.evaluation.judge import Judged, judge, records
from otgan.evaluation.neutrality import neutral_name, training_networks
from otgan.evaluation.plan import EvalPlan
from otgan.evaluation.protocol import append_scores
from otgan.evaluation.sources import SampleSource, newest_run, of_files, of_run
from otgan.features import make_features
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


class Report(NamedTuple):
    """The scores of one source of samples."""

    records: list[dict[str, Any]]
    notes: list[str]
    places: list[str]  # where they were written


def evaluate(
    plan: EvalPlan,
    subject: Path | SampleSource | None,
    show: Callable[[str], None],
    *,
    checkpoint: str | None = None,
    reference: str | None = None,
    out: Path | None = None,
    data_dir: Path | None = None,
) -> Iterator[Report]:
    """Judge samples, what lies at a path, or every kept checkpoint of a run, one after the other.

    Args:
        plan: how.
        subject: samples, or the path of a run, a file of examples or a folder of images; None is
            the run at work last.
        show: told what is being done.
        checkpoint: the step of a run's, or `all`; None is the newest.
        reference: the real data, by name or by path, of a run its own; None are those of the run
            that is judged.
        out: the folder for scores and pictures; None is the run's own, and none for files.
        data_dir: where data sets lie.

    Raises:
        UserError: something is not there, or cannot be judged.
    """
    subject = subject or newest_run(RUNS).path
    folder = RunFolder(subject) if isinstance(subject, Path) and RunFolder(subject).exists else None
    if isinstance(subject, Path) and not subject.exists():
        raise UserError(
            f"{subject} does not exist: name a run folder, a file of examples or a folder of images"
        )
    data = reference_data(
        reference, folder, subject.name if isinstance(subject, SampleSource) else str(subject)
    )
    if folder and out is None:
        folder.require_own()
    out = out or (folder.eval if folder else None)
    if out:
        _require_writable(out)
    show("reading data")
    found, shape = sources(plan, subject, folder, checkpoint)
    dataset = load(data, data_dir)
    if isinstance(data, UserData):  # a user's gray pictures may be compared with pictures in color
        dataset = dataset.with_channels_of(shape)
    known = training_networks(experiments.resolve(str(folder.config_path))) if folder else ()
    features = make_features(
        plan.features or neutral_name(data.kind, dataset.shape, known),
        dataset.shape,
        plan.resize,
        show,
    )
    for source in found:
        judged = judge(plan, source, dataset, features, show)
        notes = [*dict.fromkeys((*dataset.notes, *source.notes, *judged.notes))]
        yield Report(records(judged, source), notes, _kept(judged, source, out) if out else [])


def _require_writable(out: Path) -> None:
    """Leaves nothing behind where what is asked for is refused later."""
    there = next(place for place in (out.resolve(), *out.resolve().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UserError(f"cannot write to {out}; give --out a folder that can be written")


def reference_data(name: str | None, folder: RunFolder | None, subject: str) -> Data:
    """The data that samples are compared with: those that are named, else the run's own.

    Raises:
        UserError: neither is known.
    """
    if name is None and folder is None:
        known = ", ".join(NAMED)
        raise UserError(
            f"{subject} is no run, so say what to compare it with: a reference (--reference) of"
            f" {known}, or a file of examples or a folder of images"
        )
    if name and name not in NAMED and RunFolder(Path(name)).exists:
        folder, name = RunFolder(Path(name)), None
    if name is None:
        assert folder is not None
        return experiments.resolve(str(folder.config_path)).data
    if name not in NAMED and not Path(name).exists():
        raise UserError(
            f"there are no data {name!r} to compare with: choose {', '.join(NAMED)}, or a file of"
            " examples or a folder of images"
        )
    return NAMED.get(name) or UserData(path=str(Path(name).resolve()))


def sources(
    plan: EvalPlan, subject: Path | SampleSource, folder: RunFolder | None, checkpoint: str | None
) -> tuple[Iterator[SampleSource], tuple[int, ...]]:
    """Where the samples come from that are to be judged, and the shape of an example.

    Raises:
        UserError: there is nothing, or no such checkpoint.
    """
    if folder is None:
        if checkpoint is not None:
            raise UserError(f"--checkpoint is for runs, and {subject} is none")
        source = of_files(subject, plan.seeds) if isinstance(subject, Path) else subject
        return iter([source]), source.shape
    steps: list[int | None] = [*kept_steps(folder)] if checkpoint == "all" else [_step(checkpoint)]
    return (of_run(folder, step, plan.rounded) for step in steps), read_form(folder).shape


def _step(word: str | None) -> int | None:
    if word is None or word.isdecimal():
        return None if word is None else int(word)
    raise UserError(f"--checkpoint {word}: give a step, or all")


def _kept(judged: Judged, source: SampleSource, out: Path) -> list[str]:
    try:
        return keep(judged, source, out)
    except OSError as error:
        raise UserError(
            f"cannot write to {out} ({error.strerror}); make room, or give --out another folder"
        ) from None


def keep(judged: Judged, source: SampleSource, out: Path) -> list[str]:
    """Append scores that are not there yet, and draw the neighbors. Returns where.

    Raises:
        OSError: they cannot be written.
    """
    path = out / "scores.jsonl"
    out.mkdir(parents=True, exist_ok=True)
    append_scores(path, records(judged, source))
    if judged.neighbors is None:
        return [str(path)]
    picture = out / (f"nearest-{source.step:07d}.png" if source.step is not None else "nearest.png")
    save_sheet(judged.neighbors.reshape(-1, *judged.neighbors.shape[2:]), picture)
    return [str(path), str(picture)]
