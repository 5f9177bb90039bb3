"""How a score was measured: its protocol, the fingerprint that names it, and the refusal to compare across protocols. No JAX."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from otgan.errors import UserError
from otgan.plain import from_json

RECORDED = {"subject", "step", "metric", "mean", "sd", "values", "floor", "better", "fingerprint", "protocol"}
"""What a line of `scores.jsonl` is read for."""


@dataclass(frozen=True)
class Protocol:
    """Everything that a number depends on beside the generator.

    Attributes:
        metric: its full name.
        settings: the metric's own: subsets, neighbours, projections.
        features: what examples are compared by.
        weights: the first digits of the hash of its weights.
        preparation: what is done to examples before: resizing, range.
        quantisation: of generated images: `bytes` or `none`.
        samples: how many generated examples.
        reference: the name of the data that they are compared with.
        reference_hash: its fingerprint.
        split: which of its parts.
        references: how many of that part.
        seeds: of the latents, a set of samples each.
        version: of otgan.
    """

    metric: str
    settings: dict[str, Any]
    features: str
    weights: str
    preparation: str
    quantisation: str
    samples: int
    reference: str
    reference_hash: str
    split: str
    references: int
    seeds: tuple[int, ...]
    version: str

    @property
    def fingerprint(self) -> str:
        """Equal exactly if every field is."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Score:
    """One metric of one subject.

    Attributes:
        protocol: how it was measured.
        values: one for every seed.
        floor: the same metric of as many real examples of the other part; None where that has no meaning.
        better: `lower`, `higher`, or empty where neither is.
        marks: what a reader must know: too few examples, a generator that was trained on the features by which it is judged.
        meaning: what the metric is, in a few words.
    """

    protocol: Protocol
    values: tuple[float, ...]
    floor: float | None = None
    better: str = ""
    marks: tuple[str, ...] = field(default=())
    meaning: str = ""

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float | None:
        """Over the seeds, of a sample; None for one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def record(self, subject: str, step: int | None) -> dict[str, Any]:
        """As plain data, a line of `scores.jsonl`."""
        body = {"mean": self.mean, "sd": self.sd, "values": list(self.values), "floor": self.floor, "better": self.better}
        return {
            "subject": subject,
            "step": step,
            "metric": self.protocol.metric,
            **body,
            "marks": list(self.marks),
            "meaning": self.meaning,
            "fingerprint": self.protocol.fingerprint,
            "protocol": {**asdict(self.protocol), "seeds": list(self.protocol.seeds)},
        }


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The fields in which two protocols, as plain data, differ: `samples (10000 against 2000)`."""
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return [f"{name} ({one.get(name)} against {other.get(name)})" for name in names]


def side_by_side(records: Iterable[tuple[str, Iterable[Mapping[str, Any]]]]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Scores of several subjects at their newest steps, for a table: by metric, then by subject; the newest that were measured alike.

    Args:
        records: a subject's name, and its lines of `scores.jsonl`, oldest first.

    Raises:
        UserError: no scores of a metric were measured by one protocol; the sentence names the fields in which the newest differ.
    """
    by_metric: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for subject, lines in records:
        for line in _of_newest_step(list(lines)):
            by_metric.setdefault(line["metric"], {}).setdefault(subject, []).append(line)
    return {metric: _alike(metric, rows) for metric, rows in by_metric.items()}


def _of_newest_step(lines: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    newest = max((line["step"] for line in lines if line["step"] is not None), default=None)
    return [line for line in lines if line["step"] == newest]


def _alike(metric: str, rows: Mapping[str, list[Mapping[str, Any]]]) -> dict[str, Mapping[str, Any]]:
    first, *others = rows
    shared = set.intersection(*({line["fingerprint"] for line in lines} for lines in rows.values()))
    chosen = next((line["fingerprint"] for line in reversed(rows[first]) if line["fingerprint"] in shared), None)
    if chosen is None:
        one = rows[first][-1]
        name, other = next((name, rows[name][-1]) for name in others if rows[name][-1]["fingerprint"] != one["fingerprint"])
        fields = ", ".join(differing(one["protocol"], other["protocol"]))
        raise UserError(f"{metric} of {first} and of {name} cannot be compared: they differ in {fields}. Judge both alike")
    return {subject: next(line for line in reversed(lines) if line["fingerprint"] == chosen) for subject, lines in rows.items()}


def append_scores(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Add lines to a `scores.jsonl`; a score that the newest line of its subject, step and metric has already is not repeated."""
    newest = {_key(line): line for line in read_scores(path)}
    new = [record for record in records if not _same(newest.get(_key(record)), record)]
    torn = path.is_file() and path.stat().st_size and not path.read_bytes().endswith(b"\n")  # by a process that was killed
    with path.open("a", encoding="utf-8") as lines:
        lines.write("\n" * torn)
        lines.writelines(json.dumps(record) + "\n" for record in new)


def _key(record: Mapping[str, Any]) -> tuple:
    return record["subject"], record["step"], record["metric"]


def _same(one: Mapping[str, Any] | None, other: Mapping[str, Any]) -> bool:
    return one is not None and all(one.get(name) == other[name] for name in ("fingerprint", "values", "floor", "marks"))


def read_scores(path: Path) -> list[dict[str, Any]]:
    """The lines of a `scores.jsonl`; half a line, of a process that was killed, is left out, and whatever else is no score."""
    lines = []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        with suppress(ValueError):
            lines.append(from_json(line))
    return [line for line in lines if _is_score(line)]


def _is_score(line: Any) -> bool:
    """Whether a line has what `Score.record` writes, of the kinds that are reckoned with. What is no run's has no step."""
    if not isinstance(line, dict) or not line.keys() >= RECORDED:
        return False
    marks = line.get("marks", [])
    words = all(isinstance(line[name], str) for name in ("subject", "metric", "fingerprint"))
    words = words and isinstance(marks, list) and all(isinstance(mark, str) for mark in marks)
    return words and isinstance(line["step"], int | None) and isinstance(line["mean"], int | float) and isinstance(line["protocol"], dict)


@cache
def code_digest() -> str:
    """A hash of the source files that a score depends on: what was computed by other code is neither read from the cache nor compared."""
    package = Path(__file__).parent.parent
    sources = [package / "features.py", *(package / "evaluation" / f"{name}.py" for name in ("evidence", "measures"))]
    sources += sorted([*(package / "metrics").glob("*.py"), *(package / "models").glob("*.py")])
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]
