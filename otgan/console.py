"""What a person sees: a live bar on a terminal, plain lines elsewhere, and tables at the end."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from otgan.config import Config, Neural, Regularized

if TYPE_CHECKING:
    import numpy as np

    from otgan.loop import Progress

LINE_SECONDS = 10.0  # between two plain lines
BLURRED = 0.01  # share of steps that no dual could be certified in, from which on it is said

SHARES = ("misplaced_mass", "high_quality", "converged_share", "conjugate_converged_share", "without_mass_of_memory", "missed_value_share")
FORMATS = {
    "steps_per_second": "{:.1f}",
    "dual_iterations_per_step": "{:.1f}",
    "mode_kl": "{:.4f}",
    "mode_kl_floor": "{:.4f}",
    "generator_steps": "{:,}",
    "dual_iterations": "{:,}",
    "examples": "{:,}",
}
MEANINGS = {
    "modes": "modes with a sample within 3 sd, of {modes_total}",
    "high_quality": "share of the first samples (2,000 at most) within 3 sd of a mode",
    "w2": "exact W2 of as many samples as held-out points (2,000 at most), mean of 4 sets",
    "w2_floor": "the same for real points",
    "mode_kl": "KL of the modes' masses from uniform, 20,000 samples",
    "mode_kl_floor": "the same of the training data",
    "loss": "last window's loss",
    "loss_at_least": "with duals solved exactly it would lie between this",
    "loss_at_most": "and this",
    "uncovered_reals": "share of the mass, last window, that potentials send to real points beyond their due",
    "misplaced_mass": "last window's largest share of a plan's mass that is not where the marginals want it",
    "far_off_steps": "steps that moved by a plan with more than half of its mass in the wrong place",
    "dual_floor": "the part of the gap that rounding makes: no epsilon below it can be certified",
    "mean_cost": "last window's mean cost of a real and a generated point",
    "lam": "weight of the regularizer, units of the cost",
    "lam_over_mean_cost": "the same in multiples of the mean cost",
    "epsilon": "accuracy asked of the dual, in units of its gap",
    "epsilon_over_mean_cost": "the same in multiples of the mean cost",
    "potential_w2_squared": "by the averaged potential on all held-out points: unbiased for a lower bound of the true W2 squared",
    "potential_w2_squared_standard_error": "its standard error: only less two or three of these is it a bound",
    "clouds_w2_squared_at_least": "W2 squared of two clouds of such points (2,048 of each at most) lies between this",
    "clouds_w2_squared_at_most": "and this; clouds are further apart than what they were drawn from: no lower bound of the true W2 squared",
    "convex": "1 where the averaged potential is convex",
    "strong_convexity": "its modulus, in coordinates of variance 1",
    "conjugate_residual_worst": "of the inner problems there, units of the data",
    "conjugate_converged_share": "of the inner problems there",
    "push_error_mean": "how far a sample may be from where the map sends it, certified, units of the data: mean",
    "push_error_worst": "and the largest",
    "estimated_gap": "of the networks, on a fresh batch of 4 times the size, units of the cost",
    "semidual_value": "on fresh points, units of the cost: at most the transport cost to the whole training set",
    "missed_value": "how much it rises at once, at least, if the potentials of points without mass fall until a fresh point goes there",
    "missed_value_share": "of what it would be then: by so much at least the value above is too low",
    "unevenness_of_memory": "chi-square of the training points' masses in the last round, net of the noise of counting",
    "without_mass_of_memory": "training points that no generated point was assigned to in the last round",
    "unevenness_of_fresh": "the same of fresh points at the last potentials",
    "converged_share": "{gap_of} that reached epsilon, by their {gap_kind} gap",
    "seconds": "of training, without compilation",
    "generator_steps": "updates of the generator",
    "dual_iterations": "iterations of the dual's solver",
    "examples": "real and generated examples that the solves looked at",
    "dual_iterations_per_step": "the same in a step",
    "steps_per_second": "without compilation",
    "peak_memory_bytes": "peak memory",
}
WARNINGS = {  # of a number above a level
    "missed_value_share": (
        0.01,
        "training points that got no mass carry {shown} of the cost: however evenly it lies on the others, the value is too low by that "
        "and the generator is not drawn to them. Few points far away are beyond what OTS reaches: leave them out, or clip them",
    ),
}


class Ticker:
    """Shows a run's progress; a `otgan.loop.Show`."""

    def __init__(self, config: Config, console: Console, quiet: bool):
        self._config, self._console, self._quiet = config, console, quiet
        self._live = console.is_terminal and not quiet
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[line]}"))
        self._bar = Bar(*columns, console=console, disable=not self._live)
        self._task = self._bar.add_task(config.name, total=1.0, line="compiling")
        self._printed = time.monotonic()
        self._warned = False

    def __enter__(self) -> Ticker:
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
            self._console.print(f"resuming after step {progress.step:,}" if resumed else "compiled; training", highlight=False)
        self._bar.update(self._task, line="")

    def advance(self, progress: Progress) -> None:
        """Move the bar, or print a line now and then."""
        self._warn(progress)
        if not self._quiet and not self._live and time.monotonic() - self._printed > LINE_SECONDS:
            self._printed = time.monotonic()
            self._console.print(self._line(progress), highlight=False, soft_wrap=True)
        self._bar.update(self._task, completed=_share(self._config, progress), line=self._line(progress))

    def _warn(self, progress: Progress) -> None:
        """Say once where duals cannot be certified to the epsilon asked for: step by step, for the window has the largest floor alone."""
        if progress.blurred > BLURRED * progress.step and not self._warned:
            self._warned = True
            most, epsilon = progress.last["dual_floor"], progress.last["epsilon"]
            said = f"epsilon {epsilon:.2g} cannot be certified in {progress.blurred:,} of {progress.step:,} steps"
            why = f"there rounding alone makes a larger gap, lately of up to {most:.2g}. Give a larger --epsilon or --lam"
            self._console.print(f"{said}: {why}", highlight=False, soft_wrap=True, style="yellow")

    def _line(self, progress: Progress) -> str:
        share = _share(self._config, progress)
        left = progress.seconds * (1 - share) / share if share else 0.0
        shown = {"loss": "loss", "gap": "dual_gap"}
        seen = "  ".join(f"{word} {progress.last[name]:.4g}" for word, name in shown.items() if name in progress.last)
        pace = f"{progress.steps_per_second:.1f}/s  {clock(left)} left"
        reached = f"{self._config.oracle.REACHING} within epsilon"
        return f"step {progress.step:,}/{self._config.train.steps:,}  {pace}  {seen}  {reached} {progress.converged_share:.1%}"


def _share(config: Config, progress: Progress) -> float:
    shares = [progress.step / config.train.steps]
    if config.train.seconds is not None:
        shares.append(progress.seconds / config.train.seconds)
    if config.train.generator_steps is not None:
        shares.append(progress.generator_steps / config.train.generator_steps)
    return min(1.0, max(shares))


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def summary_table(name: str, summary: dict[str, Any]) -> Table:
    """A run's summary, a row a number, with what it means."""
    table = Table(title=f"summary of {name}", title_justify="left", show_header=False, box=None, pad_edge=False)
    for key, value in summary.items():
        if key in MEANINGS:
            table.add_row(key, shown(key, value), MEANINGS[key].format(**summary), style=None)
    if summary.get("w2_floor"):
        table.add_row("w2 / w2_floor", f"{summary['w2'] / summary['w2_floor']:.3f}", "1 is what real points get")
    for key in WARNINGS:
        if sentence := warning(key, summary.get(key)):
            table.add_row(Text("warning", style="bold"), "", sentence)
    for metric, value in summary.get("scores", {}).items():
        table.add_row(Text(metric), f"{value:.4g}", "at the end; its protocol and floor are in eval/scores.jsonl")
    if "unjudged" in summary:
        table.add_row("scores", "none", Text(summary["unjudged"]))
    return table


def warning(key: str, value: float | None) -> str:
    """What a reader must know of a number that is above its level; empty where there is nothing."""
    level, sentence = WARNINGS.get(key, (math.inf, ""))
    return sentence.format(shown=shown(key, value)) if value is not None and value > level else ""


def push_errors(errors: np.ndarray) -> str:
    """How exactly points went through a map, (n,): certified distances in units of the data."""
    if not math.isfinite(errors.max()):
        return "nothing is certified of how exact they are: the run's potential is not convex, or hardly"
    return f"each is at most {errors.max():.2g} away from where the map sends it ({errors.mean():.2g} on average, units of the data)"


def percentage(share: float) -> str:
    """A share in percent, which is 100 only where all are meant: 0.9999 is 99.9."""
    return f"{math.floor(round(1000 * share, 6)) / 10:.1f}"


def shown(key: str, value: float) -> str:
    """A number of a summary as text."""
    if key in SHARES:
        return f"{percentage(value)}%"
    if key == "peak_memory_bytes":
        return f"{value / 2**20:,.0f} MiB"
    pattern = FORMATS.get(key, "{:.4g}")
    return pattern.format(int(value) if pattern == "{:,}" else value)


class Steps:
    """Shows what a long command is at, on a terminal; nothing elsewhere."""

    def __init__(self, console: Console, quiet: bool):
        self._status = None if quiet or not console.is_terminal else console.status("")

    def __enter__(self) -> Steps:
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
        table.add_column(name, justify="right" if name in ("score", "sd", "floor") else "left", overflow="fold")
    for record in records:
        protocol = record["protocol"]
        compared = f"{protocol['samples']:,} with {protocol['references']:,} {protocol['split']}"
        marked = " *" if record["marks"] else ""
        numbers = ("" if record[key] is None else f"{record[key]:.4g}" for key in ("mean", "sd", "floor"))
        table.add_row(Text(record["metric"] + marked), *numbers, record["better"], compared, record["fingerprint"])
    where = "" if first["step"] is None else f", step {first['step']:,}"
    marks = sorted({f"* {mark}" for record in records for mark in record["marks"]})
    for part in (f"scores of {first['subject']}{where}", table, *_looks(records), *marks):
        console.print(part, markup=False, soft_wrap=isinstance(part, str))


def _looks(records: list[dict[str, Any]]) -> list[str]:
    """How the examples were looked at, said once."""
    protocols = [record["protocol"] for record in records]
    first = protocols[0]
    looks = dict.fromkeys((p["features"], p["weights"], p["preparation"]) for p in protocols)
    words = [f"{name}{'' if digest == 'none' else f' ({digest})'}: {preparation}" for name, digest, preparation in looks]
    seeds = " ".join(map(str, first["seeds"]))
    kept = "rounded to bytes" if first["quantisation"] == "bytes" else "as they are"
    real = f"real: {first['reference']} ({first['reference_hash']}); generated: seeds {seeds}, {kept}; otgan {first['version']}"
    return [*words, real, "floor: the same of as many real examples of the other part"]


def compared_table(scores: Mapping[str, Mapping[str, Mapping[str, Any]]], subjects: list[str]) -> Table:
    """One metric a row, one subject a column."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("metric", *subjects, "floor", "better", "fingerprint"):
        table.add_column(Text(name))
    for metric, row in scores.items():
        one = next(iter(row.values()))  # floor, direction and fingerprint are everybody's
        cells = [_cell(row[subject]) if subject in row else "" for subject in subjects]
        floor = "" if one["floor"] is None else f"{one['floor']:.4g}"
        table.add_row(Text(metric), *cells, floor, one["better"], one["fingerprint"])
    return table


def _cell(record: Mapping[str, Any]) -> str:
    marked = " *" if record.get("marks") else ""
    return f"{record['mean']:.4g}" + ("" if record["sd"] is None else f" ± {record['sd']:.2g}") + marked


def compared_marks(scores: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """What a reader of `compared_table` must know of its starred scores: a line for each subject and mark."""
    metrics: dict[tuple[str, str], list[str]] = {}
    for metric, row in scores.items():
        for subject, record in row.items():
            for mark in record.get("marks") or ():
                metrics.setdefault((subject, mark), []).append(metric)
    return [f"* {', '.join(of)} of {subject}: {mark}" for (subject, mark), of in metrics.items()]


def print_diagnosis(console: Console, found: Mapping[str, Any]) -> None:
    """The three diagnoses of `otgan.diagnosis.command.diagnose`."""
    mean = found["mean_cost"]
    console.print(f"diagnosis of {found['run']}, step {found['step']:,}", markup=False, soft_wrap=True)
    whose = "the dual that trains" if found["own_dual"] else "a KL-regularised dual, which this run does not train by"
    console.print(f"\nthe gradient of {whose}, on a batch of {found['batch']}; mean cost {mean:.4g}, L0 {found['L0']:.4g}")
    rows = [
        (f"{r['lam'] / mean:.3g}x", f"{r['epsilon'] / mean:.3g}x", *(f"{r[k]:.3g}" for k in ("suboptimality", "error", "bound", "ratio")))
        for r in found["gradients"]
    ]
    console.print(plain_table(("lam", "epsilon", "true suboptimality", "error", "bound", "error / bound"), rows))
    lams = dict.fromkeys(r["lam"] for r in found["gradients"])
    fitted = [(lam, slope) for lam, slope in zip(lams, found["slopes"], strict=True) if slope is not None]
    slopes = ", ".join(f"{slope:.2f} at lam {lam / mean:.3g}x" for lam, slope in fitted) or "too few points"
    console.print(f"log-log slope of the error in the true suboptimality: {slopes} (the theory: at least 0.5 in the limit)", soft_wrap=True)
    if short := sum(not r["converged"] for r in found["gradients"]):
        told = (
            f"in {short} of the rows the dual did not come as near as epsilon: they are measurements of a worse one, and the bound, which"
        )
        console.print(f"{told} is at epsilon, is not theirs", soft_wrap=True)
    if unknown := sum(not r["measured"] for r in found["gradients"]):
        told = f"in {unknown} of the rows the true dual is not known closely enough to tell it from the one that trains"
        console.print(f"{told}: their numbers are no measurements", soft_wrap=True)
    console.print("\ncost of exact transport between two batches")
    costs = [(f"{r['size']:,}", f"{r['mean']:.4g}", f"{r['standard_error']:.2g}", str(r["batches"])) for r in found["batches"]]
    console.print(plain_table(("batch size", "mean", "standard error", "batches"), costs))
    whole = found["reference"]
    bounds = f"between {whole['lower']:.4g} (standard error {whole['lower_standard_error']:.2g}) and {whole['upper']:.4g}"
    console.print(f"to all {whole['train']:,} training examples: {bounds}")
    still = found["stationarity"]
    squared = f"{still['squared_norm']:.3g} (standard error {still['standard_error']:.2g})"
    console.print(
        f"\nsquared norm of the expected gradient of the run's loss: {squared}; of one batch's: {still['batch_squared_norm']:.3g}"
    )
    if still["converged_share"] < 1:
        console.print(f"of its duals only {percentage(still['converged_share'])} % came as near as they were asked to")


def plain_table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """A table without lines."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(Text(name))  # in words, [mnist-lenet] would be markup
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def grouped_table(groups: Mapping[str, Iterable[Iterable[str]]]) -> Table:
    """Rows under the name of their group."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for group, rows in groups.items():
        table.add_row(f"[bold]{group}[/]")
        for row in rows:
            first, *rest = row
            table.add_row(f"  {first}", *rest)
    return table


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
    tables = config.model_dump(mode="json", exclude={"card": True, "name": True, **unused}, exclude_none=True)
    elsewhere = [f"  {line}" for line in translations(config)]
    return "\n".join([*head, "", *_toml(tables), *(["", "lam elsewhere", *elsewhere] if elsewhere else [])])


def translations(config: Config) -> list[str]:
    """What the lam of a config is in POT, GeomLoss and ott-jax, if its family has one that they know."""
    if not isinstance(config.oracle, Regularized | Neural):
        return []
    lam = config.oracle.lam
    if lam.relative:
        return [f"{lam} is in multiples of the batch's mean cost; with the absolute lam that a run prints,", *_elsewhere(config, None)]
    return _elsewhere(config, lam.value)


def _elsewhere(config: Config, lam: float | None) -> list[str]:
    assert isinstance(config.oracle, Regularized | Neural)
    value = "lam" if lam is None else f"{lam:g}"
    if config.oracle.regularizer == "l2":
        return [
            f"POT       ot.smooth.smooth_ot_dual(..., reg={value} * n * m, reg_type='l2') on n x m points",
            "GeomLoss  none",
            "ott-jax   none",
        ]
    blur = "sqrt(lam / 2)" if lam is None else f"{math.sqrt(lam / 2):.4g}"
    geomloss = f"blur={blur} with p=2, whose cost is half of ours" if config.cost.name == "squared_l2" else "none for this cost"
    return [f"POT       reg={value}", f"GeomLoss  {geomloss}", f"ott-jax   epsilon={value}"]


def _toml(tables: dict[str, Any], prefix: str = "") -> list[str]:
    plain = [f"{key} = {json.dumps(value)}" for key, value in tables.items() if not isinstance(value, dict)]
    lines = [f"[{prefix}]", *plain] if prefix else plain
    for key, value in tables.items():
        if isinstance(value, dict):
            lines += ["", *_toml(value, f"{prefix}.{key}" if prefix else key)]
    return lines
