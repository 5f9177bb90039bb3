"""What a person sees: a live bar on a terminal, plain lines elsewhere, and tables at the end."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from otgan.budgets import share_used
from otgan.config import Config, Neural, Regularized
from otgan.files import number
from otgan.results.quality import quality
from otgan.results.quantities import KNOWN, Known, ratio
from otgan.results.quantity import percentage

if TYPE_CHECKING:
    import numpy as np

    from otgan.dispatch import Progress

LINE_SECONDS = 10.0  # between two plain lines
BLURRED = 0.01  # share of steps that no dual could be certified in, from which on it is said


class ProgressBar:
    """Shows a run's progress; a `otgan.loop.Show`."""

    def __init__(self, config: Config, console: Console, quiet: bool):
        self._config, self._console, self._quiet = config, console, quiet
        self._live = console.is_terminal and not quiet
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[line]}"),
        )
        self._bar = Bar(*columns, console=console, disable=not self._live)
        self._task = self._bar.add_task(config.name, total=1.0, line="compiling")
        self._printed = time.monotonic()
        self._warned = False

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        """Say what takes a while."""
        if not self._quiet:
            self._console.print(text, highlight=False, soft_wrap=True)

    def begin(self, progress: Progress, resumed: bool) -> None:
        """Say where it starts."""
        if not self._quiet:
            self._console.print(
                f"resuming after step {progress.step:,}" if resumed else "compiled; training",
                highlight=False,
            )
        self._bar.update(self._task, line="")

    def advance(self, progress: Progress) -> None:
        """Move the bar, or print a line now and then."""
        self._warn(progress)
        if not self._quiet and not self._live and time.monotonic() - self._printed > LINE_SECONDS:
            self._printed = time.monotonic()
            self._console.print(self._line(progress), highlight=False, soft_wrap=True)
        self._bar.update(
            self._task, completed=_share(self._config, progress), line=self._line(progress)
        )

    def _warn(self, progress: Progress) -> None:
        """Say once where duals cannot be certified to the epsilon asked for: step by step, for the
        window has the largest floor alone.
        """
        if progress.blurred > BLURRED * progress.step and not self._warned:
            self._warned = True
            most, epsilon = progress.last["dual_floor"], progress.last["epsilon"]
            said = (
                f"epsilon {epsilon:.2g} cannot be certified in {progress.blurred:,} of"
                f" {progress.step:,} steps"
            )
            why = (
                f"there rounding alone makes a larger gap, lately of up to {most:.2g}. Give a"
                " larger --epsilon or --lam"
            )
            self._console.print(f"{said}: {why}", highlight=False, soft_wrap=True, style="yellow")

    def _line(self, progress: Progress) -> str:
        share = _share(self._config, progress)
        left = progress.seconds * (1 - share) / share if share else 0.0
        shown = {"loss": "loss", "gap": "dual_gap"}
        seen = "  ".join(
            f"{word} {progress.last[name]:.4g}"
            for word, name in shown.items()
            if name in progress.last
        )
        pace = f"{progress.steps_per_second:.1f}/s  {clock(left)} left"
        reached = f"{self._config.oracle.REACHING} within epsilon {progress.converged_share:.1%}"
        words = [f"step {progress.step:,}/{self._config.train.steps:,}", pace, seen, reached]
        return "  ".join([*words, *_held_out(progress)])


def _held_out(progress: Progress) -> list[str]:
    """The newest scores beside those of real examples: a loss alone does not show whether training
    comes closer.
    """
    shown = [metric for metric in progress.scores if metric in progress.floors]
    chosen = [m for m in shown if m.partition("[")[0] in ("recall", "fid")] or shown
    return [
        f"{metric} {progress.scores[metric]:.3g} (real {progress.floors[metric]:.3g})"
        for metric in chosen[:2]
    ]


def _share(config: Config, progress: Progress) -> float:
    return min(1.0, share_used(config.train, progress.used))


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def summary_table(name: str, summary: Mapping[str, Any], known: Known = KNOWN) -> Table:
    """A run's summary, a row a number, with what it means.

    Then what must be known of them, and its scores.
    """
    table = Table(
        title=f"summary of {name}",
        title_justify="left",
        show_header=False,
        box=None,
        pad_edge=False,
    )
    if said := quality(summary):
        table.add_row(Text("samples", style="bold"), "", Text(said))
    numbers = {
        key: value
        for key, value in {**summary, **ratio(summary)}.items()
        if isinstance(value, int | float)
    }
    for key, value in numbers.items():
        table.add_row(Text(key), known[key].text(value), Text(known[key].sentence(summary)))
    for key, value in numbers.items():
        if sentence := known[key].warning(value):
            table.add_row(Text("warning", style="bold"), "", Text(sentence))
    scores = {m: v for m, v in summary.get("scores", {}).items() if m not in summary}
    for metric, value in scores.items():
        table.add_row(
            Text(metric),
            known[metric].text(value),
            "at the end; its protocol and floor are in eval/scores.jsonl",
        )
    if "unjudged" in summary:
        table.add_row("scores", "none", Text(summary["unjudged"]))
    return table


def push_errors(errors: np.ndarray) -> str:
    """How exactly points went through a map, (n,): certified distances in units of the data."""
    if not math.isfinite(errors.max()):
        return (
            "nothing is certified of how exact they are: the run's potential is not convex, or"
            " hardly"
        )
    return (
        f"each is at most {errors.max():.2g} away from where the map sends it ({errors.mean():.2g}"
        " on average, units of the data)"
    )


class Spinner:
    """Shows what a long command is at, on a terminal; nothing elsewhere."""

    def __init__(self, console: Console, quiet: bool):
        self._status = None if quiet or not console.is_terminal else console.status("")

    def __enter__(self) -> Spinner:
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def __call__(self, text: str) -> None:
        """Say what is done now."""
        if self._status:
            self._status.update(text)


def print_scores(console: Console, records: list[dict[str, Any]]) -> None:
    """Scores of one subject beside their floors, and below them the protocols that they share."""
    first = records[0]
    table = Table(box=None, pad_edge=False, header_style="bold")
    longest = max(len(record["metric"]) for record in records) + 2
    table.add_column("metric", min_width=longest, no_wrap=True)  # the name says by which network
    for name in ("score", "sd", "floor", "better", "of", "fingerprint"):
        table.add_column(
            name, justify="right" if name in ("score", "sd", "floor") else "left", overflow="fold"
        )
    for record in records:
        protocol = record["protocol"]
        compared = f"{protocol['samples']:,} with {protocol['references']:,} {protocol['split']}"
        marked = " *" if record["marks"] else ""
        numbers = (
            "" if record[key] is None else f"{record[key]:.4g}" for key in ("mean", "sd", "floor")
        )
        table.add_row(
            Text(record["metric"] + marked),
            *numbers,
            record["better"],
            compared,
            record["fingerprint"],
        )
    where = "" if first["step"] is None else f", step {first['step']:,}"
    marks = sorted({f"* {mark}" for record in records for mark in record["marks"]})
    for part in (f"scores of {first['subject']}{where}", table, *_looks(records), *marks):
        console.print(part, markup=False, soft_wrap=isinstance(part, str))


def _looks(records: list[dict[str, Any]]) -> list[str]:
    """How the examples were looked at, said once."""
    protocols = [record["protocol"] for record in records]
    first = protocols[0]
    looks = dict.fromkeys((p["features"], p["weights"], p["preparation"]) for p in protocols)
    words = [
        f"{name}{'' if digest == 'none' else f' ({digest})'}: {preparation}"
        for name, digest, preparation in looks
    ]
    seeds = " ".join(map(str, first["seeds"]))
    kept = "rounded to bytes" if first["quantisation"] == "bytes" else "as they are"
    real = (
        f"real: {first['reference']} ({first['reference_hash']}); generated: seeds {seeds}, {kept};"
        f" otgan {records[0]['otgan']}"
    )
    return [*words, real, "floor: the same of as many real examples of the other part"]


def compared_table(
    scores: Mapping[str, Mapping[str, Mapping[str, Any]]], subjects: list[str]
) -> Table:
    """One metric a row, one subject a column."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("metric", *subjects, "floor", "better", "fingerprint"):
        table.add_column(Text(name))
    for metric, row in scores.items():
        one = next(iter(row.values()))  # floor, direction and fingerprint are everybody's
        cells = [_cell(row[subject]) if subject in row else "" for subject in subjects]
        floor = "" if (level := number(one.get("floor"))) is None else f"{level:.4g}"
        table.add_row(
            Text(metric), *cells, floor, Text(str(one.get("better") or "")), one["fingerprint"]
        )
    return table


def _cell(record: Mapping[str, Any]) -> str:
    marked = " *" if record.get("marks") else ""
    return (
        f"{record['mean']:.4g}"
        + ("" if (sd := number(record.get("sd"))) is None else f" ± {sd:.2g}")
        + marked
    )


def compared_marks(scores: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """What a reader of `compared_table` must know of its starred scores: a line for each subject
    and mark.
    """
    metrics: dict[tuple[str, str], list[str]] = {}
    for metric, row in scores.items():
        for subject, record in row.items():
            for mark in record.get("marks") or ():
                metrics.setdefault((subject, mark), []).append(metric)
    return [f"* {', '.join(of)} of {subject}: {mark}" for (subject, mark), of in metrics.items()]


def print_diagnosis(console: Console, found: Mapping[str, Any]) -> None:
    """The three diagnoses of `otgan.diagnosis.command.diagnose`."""
    mean = found["mean_cost"]
    console.print(
        f"diagnosis of {found['run']}, step {found['step']:,}", markup=False, soft_wrap=True
    )
    whose = (
        "the dual that trains"
        if found["own_dual"]
        else "a KL-regularized dual, which this run does not train by"
    )
    console.print(
        f"\nthe gradient of {whose}, on a batch of {found['batch']}; mean cost {mean:.4g}, L0"
        f" {found['L0']:.4g}"
    )
    rows = [
        (
            f"{r['lam'] / mean:.3g}x",
            f"{r['epsilon'] / mean:.3g}x",
            *(f"{r[k]:.3g}" for k in ("suboptimality", "error", "bound", "ratio")),
        )
        for r in found["gradients"]
    ]
    console.print(
        plain_table(
            ("lam", "epsilon", "true suboptimality", "error", "bound", "error / bound"), rows
        )
    )
    lams = dict.fromkeys(r["lam"] for r in found["gradients"])
    fitted = [
        (lam, slope) for lam, slope in zip(lams, found["slopes"], strict=True) if slope is not None
    ]
    slopes = (
        ", ".join(f"{slope:.2f} at lam {lam / mean:.3g}x" for lam, slope in fitted)
        or "too few points"
    )
    console.print(
        f"log-log slope of the error in the true suboptimality: {slopes} (the theory: at least 0.5"
        " in the limit)",
        soft_wrap=True,
    )
    if short := sum(not r["converged"] for r in found["gradients"]):
        told = (
            f"in {short} of the rows the dual did not come as near as epsilon: they are"
            " measurements of a worse one, and the bound, which"
        )
        console.print(f"{told} is at epsilon, is not theirs", soft_wrap=True)
    if unknown := sum(not r["measured"] for r in found["gradients"]):
        told = (
            f"in {unknown} of the rows the true dual is not known closely enough to tell it from"
            " the one that trains"
        )
        console.print(f"{told}: their numbers are no measurements", soft_wrap=True)
    console.print("\ncost of exact transport between two batches")
    costs = [
        (f"{r['size']:,}", f"{r['mean']:.4g}", f"{r['standard_error']:.2g}", str(r["batches"]))
        for r in found["batches"]
    ]
    console.print(plain_table(("batch size", "mean", "standard error", "batches"), costs))
    whole = found["reference"]
    bounds = (
        f"between {whole['lower']:.4g} (standard error {whole['lower_standard_error']:.2g}) and"
        f" {whole['upper']:.4g}"
    )
    console.print(f"to all {whole['train']:,} training examples: {bounds}")
    still = found["stationarity"]
    squared = f"{still['squared_norm']:.3g} (standard error {still['standard_error']:.2g})"
    console.print(
        f"\nsquared norm of the expected gradient of the run's loss: {squared}; of one batch's:"
        f" {still['batch_squared_norm']:.3g}"
    )
    if still["converged_share"] < 1:
        console.print(
            f"of its duals only {percentage(still['converged_share'])} % came as near as they were"
            " asked to"
        )


def plain_table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """A table without lines."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(Text(name))  # in words, [mnist-lenet] would be markup
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def grouped_tables(groups: Mapping[str, Sequence[Sequence[str]]]) -> Group:
    """Rows of three cells under the name of their group, all groups in the same columns."""
    rows = [row for group in groups.values() for row in group]
    widths = [max(len(row[k]) for row in rows) for k in range(3)]
    parts: list[Text | Table] = []
    for group, its in groups.items():
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(min_width=widths[0] + 2, no_wrap=True)
        table.add_column(ratio=widths[1], max_width=widths[1])
        table.add_column(ratio=widths[2], max_width=widths[2])
        for row in its:
            table.add_row(*map(Text, (f"  {row[0]}", *row[1:])))
        parts += [Text(group, style="bold"), table]
    return Group(*parts)


def describe(config: Config) -> str:
    """A config for a reader: the card, the values as TOML, and lam in other tools' words."""
    card = config.card
    facts = [
        ("paper", card.paper),
        ("expect", card.expect),
        ("gave", card.measured),
        ("cost", card.cost),
        ("note", card.note),
        ("run", f"otgan run {config.name}"),
    ]
    head = [f"{config.name}: {card.title}", *(f"  {name:7} {text}" for name, text in facts if text)]
    unused = {} if config.cost.encoded else {"cost": {"encoder"}}
    tables = config.model_dump(
        mode="json", exclude={"card": True, "name": True, **unused}, exclude_none=True
    )
    elsewhere = [f"  {line}" for line in translations(config)]
    return "\n".join(
        [*head, "", *_toml(tables), *(["", "lam elsewhere", *elsewhere] if elsewhere else [])]
    )


def translations(config: Config) -> list[str]:
    """What the lam of a config is in POT, GeomLoss and ott-jax, if its family has one that they
    know.
    """
    if not isinstance(config.oracle, Regularized | Neural):
        return []
    lam = config.oracle.lam
    if lam.relative:
        return [
            (
                f"{lam} is in multiples of the batch's mean cost; with the absolute lam that a run"
                " prints,"
            ),
            *_elsewhere(config, None),
        ]
    return _elsewhere(config, lam.value)


def _elsewhere(config: Config, lam: float | None) -> list[str]:
    assert isinstance(config.oracle, Regularized | Neural)
    value = "lam" if lam is None else f"{lam:g}"
    if config.oracle.regularizer == "l2":
        return [
            (
                f"POT       ot.smooth.smooth_ot_dual(..., reg={value} * n * m, reg_type='l2') on n"
                " x m points"
            ),
            "GeomLoss  none",
            "ott-jax   none",
        ]
    blur = "sqrt(lam / 2)" if lam is None else f"{math.sqrt(lam / 2):.4g}"
    geomloss = (
        f"blur={blur} with p=2, whose cost is half of ours"
        if config.cost.name == "squared_l2"
        else "none for this cost"
    )
    return [f"POT       reg={value}", f"GeomLoss  {geomloss}", f"ott-jax   epsilon={value}"]


def _toml(tables: dict[str, Any], prefix: str = "") -> list[str]:
    plain = [
        f"{key} = {json.dumps(value)}"
        for key, value in tables.items()
        if not isinstance(value, dict)
    ]
    lines = [f"[{prefix}]", *plain] if prefix else plain
    for key, value in tables.items():
        if isinstance(value, dict):
            lines += ["", *_toml(value, f"{prefix}.{key}" if prefix else key)]
    return lines
