"""Run folders as plain data: what can be read is, what cannot is named.

No JAX, and no check of what a newer version may have added.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from otgan import __version__, experiments
from otgan.budgets import longer
from otgan.errors import UserError
from otgan.files import LOCK, Plain, number, read_lines, read_table, table
from otgan.results.quantities import FINGERPRINTS
from otgan.results.quantity import Quantity, of_record
from otgan.results.scores import Key, is_score, is_undefined, newest
from otgan.results.state import RunState, state_of
from otgan.runs import ENVIRONMENT, RunFolder

PICTURE = re.compile(r"(?P<kind>[\w-]+?)-(?P<step>\d+)\.png")


class Picture(NamedTuple):
    """A picture in a run folder."""

    kind: str  # `step` for samples on fixed latents; `nearest`; else what the family highlights
    step: int
    path: Path


@dataclass(frozen=True)
class Run:
    """A run folder, as far as it can be read.

    Attributes:
        path: the folder.
        name: of its experiment, else of the folder.
        state: as `state_of` tells it.
        config: what was run.
        environment: where.
        status: how far.
        lines: of `metrics.jsonl`, those with a step.
        scores: of `eval/scores.jsonl`, those with a metric, a mean and a protocol, oldest first.
        pictures: by step.
        problems: what could not be read, in sentences.
        values: of a sweep's axes, by dotted key.
        seed: of a sweep's cell.
        diagnosis: what `otgan diagnose` found last.
    """

    path: Path
    name: str
    state: RunState
    config: Plain
    environment: Plain
    status: Plain
    lines: list[Plain]
    scores: list[Plain]
    pictures: list[Picture]
    problems: list[str] = field(default_factory=list)
    values: Plain = field(default_factory=dict)
    seed: int | None = None
    diagnosis: Plain = field(default_factory=dict)

    @property
    def summary(self) -> Plain:
        """Of its status; empty where there is none."""
        return table(self.status.get("summary"))

    @property
    def summarized_scores(self) -> set[Key]:
        """The scores that its summary's numbers are: none of version 0.1.0, which judged its runs'
        ends by other code than `eval`.
        """
        told = table(self.summary.get(FINGERPRINTS))
        return {
            (name, fingerprint)
            for name, fingerprint in told.items()
            if isinstance(fingerprint, str)
        }

    @cached_property
    def newest_scores(self) -> dict[Key, Plain]:
        """The score of each metric and protocol at the latest step."""
        return newest(self.scores)

    @property
    def last_scores(self) -> dict[Key, Plain]:
        """Those of a finished run's last step: of an older checkpoint's no mean is made.

        Of other runs the newest.
        """
        if not self.state.trained:
            return self.newest_scores
        return {
            key: score
            for key, score in self.newest_scores.items()
            if score.get("step") in (self.step, None)
        }

    @property
    def facts(self) -> Plain:
        """What its numbers' meanings ask of it: what reached epsilon, by which kind of gap, of how
        many modes.
        """
        told = {
            "modes_total": number(self.summary.get("modes_total")),
            "gap_kind": self.gap_kind,
            "gap_of": self.gap_of,
        }
        return {
            key: f"{value:g}" if isinstance(value, float) else value
            for key, value in told.items()
            if value
        }

    @cached_property
    def declared(self) -> list[Quantity]:
        """What its family said of its own numbers, when the run began or went on."""
        told = [
            self.environment,
            *(again if isinstance(again := self.environment.get("resumed"), list) else []),
        ]
        records = [
            record
            for each in told
            if isinstance(own := table(each).get("quantities"), list)
            for record in own
        ]
        return [quantity for quantity in map(of_record, records) if quantity]

    @property
    def raised(self) -> list[str]:
        """The budgets that were raised since it began, in words."""
        later = self.environment.get("resumed")
        told = [self.environment, *(later if isinstance(later, list) else [])]
        first, *others = [_budgets(each) for each in told if table(each).get("budgets")] or [{}]
        return longer(first, others[-1]) if others else []

    @property
    def step(self) -> int:
        """How far it is."""
        last = number(self.status.get("step"))
        return int(last if last is not None else self.lines[-1]["step"] if self.lines else 0)

    @property
    def gap_kind(self) -> str:
        """What its gap is: certified, estimated or residual; empty where that was not recorded."""
        return str(self.summary.get("gap_kind") or self.environment.get("gap_kind") or "")

    @property
    def gap_of(self) -> str:
        """What it is that reached epsilon, in the family's words."""
        return str(self.summary.get("gap_of") or self.environment.get("gap_of") or "solved duals")


def read_run(path: Path) -> Run:
    """Read a run folder in any state.

    Raises:
        UserError: nothing in it is a run's.
    """
    folder = RunFolder(path)
    if not any(
        part.exists()
        for part in (folder.config_path, folder.status_path, folder.metrics, path / LOCK)
    ):
        raise UserError(
            f"{path} is neither a run nor a sweep: it holds no config.json, metrics.jsonl or"
            " sweep.json"
        )
    problems: list[str] = []
    config = read_table(folder.config_path, problems)
    environment = read_table(path / ENVIRONMENT, problems) if (path / ENVIRONMENT).exists() else {}
    status = folder.read_status(problems)
    problems += [*_newer(environment), *(_unfit(folder) if config else [])]
    lines = read_lines(folder.metrics, lambda line: number(line.get("step")) is not None, problems)
    told = read_lines(folder.scores, lambda line: is_score(line) or is_undefined(line), problems)
    scores = [line for line in told if is_score(line)]
    name = str(config.get("name") or path.resolve().name)
    state, found = state_of(folder), sorted(folder.eval.glob("diagnosis-*.json"))
    diagnosis = read_table(found[-1], problems) if found else {}
    return Run(
        path,
        name,
        state,
        config,
        environment,
        status,
        lines,
        scores,
        drawn(folder),
        problems,
        diagnosis=diagnosis,
    )


def drawn(folder: RunFolder) -> list[Picture]:
    """The pictures in a run folder, by step: samples, highlighted and nearest training examples."""
    found = []
    for path in (*folder.picture(0).parent.glob("*.png"), *folder.eval.glob("*.png")):
        if match := PICTURE.fullmatch(path.name):
            found.append(Picture(match["kind"], int(match["step"]), path))
    return sorted(found, key=lambda picture: (picture.kind != "step", picture.kind, picture.step))


def _budgets(environment: Plain) -> Plain:
    told = table(environment.get("budgets"))
    return {key: value for key, value in told.items() if value is None or number(value)}


def _newer(environment: Plain) -> list[str]:
    there = str(table(environment.get("versions")).get("otgan", ""))
    newer = _parts(there) > _parts(__version__)
    return (
        [
            f"it was written by otgan {there}, newer than this one ({__version__}): what that added"
            " is not shown"
        ]
        if newer
        else []
    )


def _parts(version: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d{1,9}", version)[:3]]


def _unfit(folder: RunFolder) -> list[str]:
    """What this version would refuse to run."""
    try:
        experiments.resolve(str(folder.config_path))
    except UserError as error:
        return [f"config.json: {' '.join(str(error).split())}"]
    return []
