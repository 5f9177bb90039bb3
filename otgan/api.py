"""otgan in Python: train an experiment, open a run, draw from it, judge samples.

What the commands do, with arrays in place of files.

These functions are the package's own names: `otgan.train`, `otgan.load`, `otgan.score`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from rich.console import Console

from otgan import experiments, sampling, suggest
from otgan.config import Config
from otgan.console import ProgressBar
from otgan.data import as_examples
from otgan.errors import UserError
from otgan.evaluation.command import evaluate
from otgan.evaluation.plan import EvalPlan
from otgan.evaluation.sources import of_examples
from otgan.launch import launch
from otgan.results.run import Run, read_run
from otgan.results.state import RunState
from otgan.runs import RunFolder

Place = str | Path
ARRAY = "the array"  # what messages call one


@dataclass(frozen=True)
class TrainedRun:
    """A run's folder, opened.

    Nothing is read before it is asked for; what a running process adds later is not seen.

    Attributes:
        path: of the folder.
    """

    path: Path

    @cached_property
    def config(self) -> Config:
        """What was run."""
        return experiments.resolve(str(RunFolder(self.path).config_path))

    @cached_property
    def record(self) -> Run:
        """Everything that its files say."""
        return read_run(self.path)

    @property
    def state(self) -> RunState:
        """Whether it finished, and how else it ended."""
        return self.record.state

    @property
    def summary(self) -> dict[str, Any]:
        """The numbers of its end, by name: those that `otgan run` prints."""
        return self.record.summary

    @property
    def history(self) -> list[dict[str, Any]]:
        """Its numbers as it went, one table for every `train.log_every` steps;
        `otgan.results.quantities.KNOWN` has their meanings.
        """
        return self.record.lines

    def sample(
        self, size: int, seed: int = 0, step: int | None = None
    ) -> Shaped[np.ndarray, "size ..."]:
        """Draw from the averaged generator.

        The i-th sample of a seed is the same whatever the size.

        Args:
            size: how many.
            seed: of the latents.
            step: of a checkpoint that is kept; by default the newest.

        Returns:
            (size, d) float32 points, or (size, h, w, c) pictures as bytes.

        Raises:
            UserError: there is no such checkpoint, or samples are not finite.
        """
        return sampling.sample(RunFolder(self.path), size, seed, step)

    def transport(
        self, examples: Shaped[np.ndarray, "n ..."]
    ) -> tuple[Shaped[np.ndarray, "n ..."], Float[np.ndarray, " n"]]:
        """Send (n, d) points, or (n, h, w, c) pictures as bytes, through the map that a run of
        family "convex" has learned.

        Returns:
            What came of them, and how far each may be from its exact image, in units of the data;
            infinite where nothing is certified.

        Raises:
            UserError: the run has no map, or maps other examples.
        """
        return sampling.transport(RunFolder(self.path), as_examples(examples, ARRAY), ARRAY)


def train(
    experiment: Place | Config,
    changes: Mapping[str, Any] | None = None,
    *,
    data: str | None = None,
    out: Place | None = None,
    data_dir: Place | None = None,
    devices: int | None = None,
    quiet: bool = False,
) -> TrainedRun:
    """Train an experiment, or go on with it where its folder is there: `otgan run`.

    Args:
        experiment: a name of `otgan list`, a TOML file, a stored `config.json`, or a config.
        changes: new values by dotted key, such as `{"oracle.lam": "0.1x", "train.seconds": 60}`;
            not of a config.
        data: where the examples come from, as in `--data`: "tfds", "sample", a file of yours, or a
            folder of pictures; not of a config.
        out: the run's folder; by default a new one in `runs/`.
        data_dir: where TFDS has prepared data.
        devices: how many to run on; by default all.
        quiet: whether to print nothing.

    Returns:
        The run, in whichever state it ended: see `TrainedRun.state`.

    Raises:
        UserError: the experiment, its data or its folder are not as they must be, or the folder
            cannot be written any more.
    """
    if isinstance(experiment, Config):
        if changes or data:
            raise UserError(
                "a config is trained as it is: give its changes to otgan.experiments.resolve, which"
                " checks them"
            )
        config = experiment
    else:
        config = suggest.resolve(str(experiment), changes, data, _path(data_dir))
    with ProgressBar(config, Console(), quiet) as bar:
        ended = launch(config, _path(out), changes or {}, _path(data_dir), devices, bar)
    return TrainedRun(Path(ended.folder))


def load(path: Place) -> TrainedRun:
    """Open a run's folder, in whatever state it is.

    Raises:
        UserError: there is no run in it.
    """
    read_run(Path(path))
    return TrainedRun(Path(path))


def score(
    subject: TrainedRun | Place | Shaped[np.ndarray, "n ..."],
    measures: Iterable[str] = (),
    *,
    reference: str | None = None,
    features: str | None = None,
    samples: int | None = None,
    seeds: int = 1,
    data_dir: Place | None = None,
) -> dict[str, dict[str, Any]]:
    """Judge a run's generator, or samples: `otgan eval`.

    Scores of a run are kept in its folder too.

    Args:
        subject: a run, the path of one or of a file or a folder of pictures, or samples as an
            array.
        measures: of "fid", "kid", "is", "pr", "wasserstein", "modes", "nearest" and those of other
            packages; by default the quick ones.
        reference: what to compare with, as in `--reference`: a name or a path. By default a run's
            own data.
        features: what pictures are compared by; by default a network that was trained on such
            pictures, and that the generator was not trained on.
        samples: how many generated examples a seed; by default 10,000 pictures or 20,000 points, or
            all that there are.
        seeds: sets of samples.
        data_dir: where TFDS has prepared data.

    Returns:
        By metric, such as "fid[mnist-allconv]", a line of `scores.jsonl`: `mean`, `sd` and `values`
        over the seeds, `floor`, which is what real examples get, `better`, `protocol`, and
        `fingerprint`, which is the same where scores may be compared.

    Raises:
        UserError: something is not there, or cannot be judged.
    """
    if isinstance(subject, TrainedRun):
        subject = subject.path
    flags: Any = tuple(measures)
    plan = EvalPlan(flags=flags, features=features, samples=samples, seeds=seeds)
    judged = (
        of_examples(as_examples(subject, ARRAY), seeds, ARRAY)
        if isinstance(subject, np.ndarray)
        else Path(subject)
    )
    (report,) = evaluate(
        plan, judged, lambda text: None, reference=reference, data_dir=_path(data_dir)
    )
    return {record["metric"]: record for record in report.records}


def _path(place: Place | None) -> Path | None:
    return None if place is None else Path(place)
