"""How a score was measured: its protocol, the fingerprint that names it, and the line of
`scores.jsonl` that keeps it. No JAX.

A fingerprint is of what a number means, not of the source that computed it: where that changes
numbers, a version is raised. What wrote a line stands beside its protocol. Version 0.1.0 hashed its
source files instead (`version`, as in 0.1.0+1629b970): such lines are read, and are of another
protocol than all of today's, for nobody can tell from a hash what was computed.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from otgan import __version__
from otgan.files import append_line
from otgan.results.scores import read_scores


@dataclass(frozen=True)
class Protocol:
    """Everything that a number depends on beside the generator.

    Attributes:
        metric: its full name.
        settings: the metric's own: subsets, neighbors, projections.
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
        versions: of the measure, of how its features look at examples, of how these are chosen and,
            where it uses one, of its solver.
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
    versions: dict[str, int]

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
        floor: the same metric of as many real examples of the other part; None where that has no
            meaning.
        better: `lower`, `higher`, or empty where neither is.
        marks: what a reader must know: too few examples, a generator that was trained on the
            features by which it is judged.
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
        body = {
            "mean": self.mean,
            "sd": self.sd,
            "values": list(self.values),
            "floor": self.floor,
            "better": self.better,
        }
        return {
            "subject": subject,
            "step": step,
            "metric": self.protocol.metric,
            **body,
            "marks": list(self.marks),
            "meaning": self.meaning,
            "fingerprint": self.protocol.fingerprint,
            "otgan": __version__,  # what wrote it; no part of how it was measured
            "protocol": {**asdict(self.protocol), "seeds": list(self.protocol.seeds)},
        }


def append_scores(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Add lines to a `scores.jsonl`.

    A score that the newest line of its subject, step, metric and protocol has already is not
    repeated.
    """
    newest = {_key(line): line for line in read_scores(path)}
    new = [record for record in records if not _same(newest.get(_key(record)), record)]
    for record in new:
        append_line(path, json.dumps(record))


def _key(record: Mapping[str, Any]) -> tuple:
    return record.get("subject"), record.get("step"), record["metric"], record["fingerprint"]


def _same(one: Mapping[str, Any] | None, other: Mapping[str, Any]) -> bool:
    return one is not None and all(
        one.get(name) == other[name] for name in ("values", "floor", "marks")
    )
