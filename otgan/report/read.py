"""Run folders as plain data: what can be read is, what cannot is named. No JAX, and no check of what a newer version may have added."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from otgan import __version__, experiments
from otgan.errors import UserError
from otgan.experiments import flat
from otgan.plain import from_json
from otgan.results.quantity import Quantity, of_record
from otgan.results.state import RunState, state_of
from otgan.runs import ENVIRONMENT, LOCK, RunFolder

Plain = dict[str, Any]

PICTURE = re.compile(r"(?P<kind>[\w-]+?)-(?P<step>\d+)\.png")


class Drawn(NamedTuple):
    """A picture in a run folder."""

    kind: str  # `step` for samples on fixed latents; `nearest`; else what the family exhibits
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
    pictures: list[Drawn]
    problems: list[str] = field(default_factory=list)
    values: Plain = field(default_factory=dict)
    seed: int | None = None
    diagnosis: Plain = field(default_factory=dict)

    @property
    def summary(self) -> Plain:
        """Of its status; empty where there is none."""
        return table(self.status.get("summary"))

    @property
    def facts(self) -> Plain:
        """What its numbers' meanings ask of it: what reached epsilon, by which kind of gap, of how many modes."""
        told = {"modes_total": number(self.summary.get("modes_total")), "gap_kind": self.gap_kind, "gap_of": self.gap_of}
        return {key: f"{value:g}" if isinstance(value, float) else value for key, value in told.items() if value}

    @property
    def declared(self) -> list[Quantity]:
        """What its family said of its own numbers, when the run began or went on."""
        told = [self.environment, *(again if isinstance(again := self.environment.get("resumed"), list) else [])]
        records = [record for each in told if isinstance(own := table(each).get("quantities"), list) for record in own]
        return [quantity for quantity in map(of_record, records) if quantity]

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


def number(value: Any) -> float | None:
    """A finite number as float, and None for whatever else a file may hold."""
    try:
        return float(value) if isinstance(value, (float, int)) and math.isfinite(value) else None
    except OverflowError:  # a whole number of hundreds of digits
        return None


def table(value: Any) -> Plain:
    """A table, and an empty one for whatever else a file may hold."""
    return value if isinstance(value, dict) else {}


def read_run(path: Path) -> Run:
    """Read a run folder in any state.

    Raises:
        UserError: nothing in it is a run's.
    """
    folder = RunFolder(path)
    if not any(part.exists() for part in (folder.config_path, folder.status_path, folder.metrics, path / LOCK)):
        raise UserError(f"{path} is neither a run nor a sweep: it holds no config.json, metrics.jsonl or sweep.json")
    problems: list[str] = []
    config = read_table(folder.config_path, problems)
    environment, status = (read_table(file, problems) if file.exists() else {} for file in (path / ENVIRONMENT, folder.status_path))
    problems += [*_newer(environment), *(_unfit(folder) if config else [])]
    lines = read_lines(folder.metrics, lambda line: number(line.get("step")) is not None, problems)
    scores = read_lines(folder.scores, _is_score, problems)
    name = str(config.get("name") or path.resolve().name)
    state, found = state_of(folder), sorted(folder.eval.glob("diagnosis-*.json"))
    diagnosis = read_table(found[-1], problems) if found else {}
    return Run(path, name, state, config, environment, status, lines, scores, drawn(folder), problems, diagnosis=diagnosis)


def read_table(path: Path, problems: list[str]) -> Plain:
    """A file that holds one JSON table; empty, and a sentence more in `problems`, where it does not."""
    try:
        found = from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problems.append(f"{path.name} is not there")
    except (OSError, ValueError) as error:
        problems.append(f"{path.name} could not be read ({str(error).splitlines()[0][:120]})")
    else:
        if isinstance(found, dict):
            return found
        problems.append(f"{path.name} holds no table")
    return {}


def read_lines(path: Path, sound: Callable[[Plain], bool], problems: list[str]) -> list[Plain]:
    """A file with a JSON table a line; none where it is not there. Lines that are none, or not sound, are counted in `problems`."""
    if not path.is_file():
        return []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        problems.append(f"{path.name} could not be read ({error.strerror})")
        return []
    found = [parsed for parsed in map(_parsed, lines) if parsed and sound(parsed)]
    if len(found) < len(lines):
        problems.append(f"{path.name}: {len(lines) - len(found):,} of {len(lines):,} lines could not be read")
    return found


def drawn(folder: RunFolder) -> list[Drawn]:
    """The pictures in a run folder, by step: samples, exhibits, nearest training examples."""
    found = []
    for path in (*folder.picture(0).parent.glob("*.png"), *folder.eval.glob("*.png")):
        if match := PICTURE.fullmatch(path.name):
            found.append(Drawn(match["kind"], int(match["step"]), path))
    return sorted(found, key=lambda picture: (picture.kind != "step", picture.kind, picture.step))


class Value(NamedTuple):
    """A key of a config beside that of its named experiment."""

    key: str
    value: str
    usual: str | None  # the named experiment's, where it differs; empty where that has no such key


def compared(run: Run) -> list[Value]:
    """The values of a run, beside those of its named experiment that differ."""
    here = {key: value for key, value in flat(run.config).items() if not key.startswith("card.") and key != "name"}
    base = usual(run.name)
    if base is None:
        return [Value(key, _text(value), None) for key, value in here.items()]
    differing = {key: _text(base[key]) if key in base else "" for key, value in here.items() if base.get(key) != value}
    return [Value(key, _text(value), differing.get(key)) for key, value in here.items()]


def card(run: Run) -> Plain:
    """The recipe's card: the run's own, else its named experiment's."""
    own = table(run.config.get("card"))
    return own or {key.removeprefix("card."): value for key, value in (usual(run.name) or {}).items() if key.startswith("card.")}


@cache
def usual(name: str) -> Plain | None:
    """The values of a named experiment by dotted key; None where there is none of that name."""
    return flat(experiments.resolve(name).model_dump(mode="json")) if name in experiments.names() else None


def dig(tree: Mapping[str, Any], dotted: str) -> Any:
    """The value at a dotted key; None where there is none."""
    found: Any = tree
    for name in dotted.split("."):
        found = table(found).get(name)
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _parsed(line: bytes) -> Plain | None:
    try:
        found = from_json(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _is_score(line: Plain) -> bool:
    """Whether a line has what every version writes of a score."""
    words = isinstance(line.get("metric"), str) and isinstance(line.get("fingerprint"), str)
    return words and number(line.get("mean")) is not None and isinstance(line.get("protocol"), dict)


def _newer(environment: Plain) -> list[str]:
    there = str(table(environment.get("versions")).get("otgan", ""))
    newer = _parts(there) > _parts(__version__)
    return [f"it was written by otgan {there}, newer than this one ({__version__}): what that added is not shown"] if newer else []


def _parts(version: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d{1,9}", version)[:3]]


def _unfit(folder: RunFolder) -> list[str]:
    """What this version would refuse to run."""
    try:
        experiments.resolve(str(folder.config_path))
    except UserError as error:
        return [f"config.json: {' '.join(str(error).split())}"]
    return []
