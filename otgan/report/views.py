"""What a page says of a run in words: how it ended, what its duals are worth, its numbers and where
they come from. No JAX.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from otgan.console import clock
from otgan.files import Plain, dig, number, table
from otgan.plain import flat
from otgan.results.again import resume
from otgan.results.aggregate import Comparison, compare, numbers
from otgan.results.quantities import KNOWN, SHARE
from otgan.results.run import Run
from otgan.results.state import ENDED, RunState
from otgan.results.sweep import SeedGroup, label, listed

FACTS = {  # of a config, on the first screen
    "data.kind": "data",
    "oracle.family": "family",
    "oracle.loss": "loss",
    "oracle.regularizer": "regularizer",
    "oracle.lam": "lambda",
    "oracle.epsilon": "epsilon",
    "cost.name": "cost",
    "cost.features": "features",
    "batch.size": "batch",
    "train.seed": "seed",
}
KINDS = {
    "certified": "by a gap certified on its batch",
    "estimated": "by a gap estimated on held-out batches, which is no certificate",
    "residual": "by a residual, which is no bound on the gap",
}

DIAGNOSES = {  # of `otgan diagnose`
    "gradients": "The gradient's error at inexact duals, beside its bound L0 sqrt(2 epsilon / lam)",
    "stationarity": "Squared norm of the gradient on many batches",
    "slopes": (
        "Log-log slope of that error in the dual's true suboptimality, and the bound's constant"
    ),
    "batches": "Cost of transport between minibatches",
    "reference": "Cost of transport to the whole training set",
}


class Word(NamedTuple):
    """A judgment: a symbol, a word, a sentence, and the tone of its color, which repeats what the
    symbol says.
    """

    symbol: str
    word: str
    sentence: str
    tone: str  # good, warn, bad or plain


class NumberRow(NamedTuple):
    """A number in a table."""

    name: str
    value: str
    meaning: str


class Scored(NamedTuple):
    """A score in a table."""

    metric: str
    mean: str
    sd: str
    floor: str
    better: str
    step: str
    compared: str
    fingerprint: str
    marks: list[str]
    meaning: str
    protocol: list[tuple[str, str]]


def ending(run: Run) -> Word:
    """How a run ended, or where it is."""
    reason = str(run.status.get("reason") or "") if run.state in ENDED else ""
    if run.state is RunState.FAILED and not reason:
        reason = f"its process is gone and left no word; go on with: {resume(run.path)}"
    return Word(
        run.state.symbol,
        run.state.word,
        "" if run.state is RunState.FINISHED else reason,
        run.state.tone,
    )


def verdict(run: Run) -> Word:
    """What the accuracy of a run's duals lets one say."""
    share = number(run.summary.get(SHARE))
    how = KINDS.get(run.gap_kind, "by a gap whose kind is not recorded")
    if share is None:
        return Word("?", "duals not recorded", "Nothing says how accurate its duals were.", "plain")
    if share >= 1:
        symbol, tone = ("✓", "good") if run.gap_kind == "certified" else ("≈", "plain")
        word = "duals certified" if run.gap_kind == "certified" else "within epsilon"
        return Word(symbol, word, f"All of its {run.gap_of} reached epsilon, {how}.", tone)
    reached = f"{KNOWN[SHARE].text(share)} of its {run.gap_of} reached epsilon, {how}"
    return Word(
        "△",
        f"{KNOWN[SHARE].text(share)} within epsilon",
        f"{reached}. In the shaded steps the loss is not known to that accuracy.",
        "warn",
    )


def verdict_of_all(cells: Sequence[Run]) -> Word:
    """The same of many runs: those that finished."""
    known = {
        id(cell): share for cell in cells if (share := number(cell.summary.get(SHARE))) is not None
    }
    short_of = [cell for cell in cells if known.get(id(cell), 1.0) < 1]
    if not known:
        return Word("?", "duals not recorded", "No run says how accurate its duals were.", "plain")
    kinds = sorted({cell.gap_kind or "unrecorded" for cell in cells})
    what = sorted({cell.gap_of for cell in cells})
    if not short_of:
        tone = ("✓", "good") if kinds == ["certified"] else ("≈", "plain")
        sentence = (
            f"All {' and '.join(what)} of {len(known)} runs reached epsilon; their gap is"
            f" {' or '.join(kinds)}."
        )
        return Word(tone[0], "all within epsilon", sentence, tone[1])
    worst = min(short_of, key=lambda cell: known[id(cell)])
    least = f"the least {KNOWN[SHARE].text(known[id(worst)])}" + (
        f", at {label(worst)}" if worst.values else ""
    )
    sentence = (
        f"{len(short_of)} of {len(known)} runs have steps that did not reach epsilon, of their"
        f" {' and '.join(what)}; {least}. Their gap is {' or '.join(kinds)}."
    )
    return Word("△", f"{len(short_of)} of {len(known)} with steps above epsilon", sentence, "warn")


def facts(run: Run) -> list[tuple[str, str]]:
    """What a run is, in a few pairs."""
    found = [
        (word, str(value))
        for key, word in FACTS.items()
        if isinstance(value := dig(run.config, key), str | int | float)
    ]
    seconds = number(run.status.get("seconds"))
    asked = number(dig(run.config, "train.steps"))
    steps = f"{run.step:,}" + (f" of {int(asked):,}" if asked and asked != run.step else "")
    return [
        *found,
        ("steps", steps),
        *([("trained", clock(seconds))] if seconds is not None else []),
    ]


def headline(run: Run, comparison: Comparison) -> list[NumberRow]:
    """At most four numbers for the first screen: scores with their floors, then what else tells
    most, results first.
    """
    rows = []
    for key, score in run.last_scores.items():
        # it stands among the numbers below
        if (name := comparison.names[key]) not in comparison.scores:
            continue
        floor = number(score.get("floor"))
        told = [
            *([] if floor is None else [f"floor {floor:.4g}"]),
            *(f"△ {mark}" for mark in score.get("marks", [])),
        ]
        rows.append(NumberRow(name.replace("_", " "), f"{score['mean']:.4g}", ", ".join(told)))
    found = numbers(run, comparison)
    first = [
        quantity
        for name, quantity in comparison.known.items()
        if quantity.brief is not None and name in found
    ]
    for quantity in sorted(first, key=lambda quantity: not quantity.better):
        brief = quantity.told(quantity.brief or "", run.facts)
        rows.append(
            NumberRow(quantity.name.replace("_", " "), quantity.text(found[quantity.name]), brief)
        )
    return rows[:4]


def all_numbers(run: Run) -> list[NumberRow]:
    """Every number of a run's summary, with what it means.

    Those that this version does not know too.
    """
    comparison = compare([run])
    summary = {key: value for key, raw in run.summary.items() if (value := number(raw)) is not None}
    found = {**numbers(run, comparison), **summary}
    rows = []
    for name, value in found.items():
        if name not in comparison.scores:
            quantity = comparison.known[name]
            words = " ! ".join(
                filter(None, [quantity.sentence(run.facts), quantity.warning(value)])
            )
            rows.append(NumberRow(name, quantity.text(value), words))
    return rows


def scored(run: Run) -> list[Scored]:
    """A run's newest scores with all that they depend on."""
    rows = []
    for score in run.newest_scores.values():
        sd, floor = number(score.get("sd")), number(score.get("floor"))
        protocol = [(key, str(value)) for key, value in flat(score["protocol"]).items()]
        counts = [number(dig(score, f"protocol.{key}")) for key in ("samples", "references")]
        compared = (
            " with ".join("?" if n is None else f"{int(n):,}" for n in counts)
            + f" {dig(score, 'protocol.split') or ''}"
        )
        rows.append(
            Scored(
                score["metric"],
                f"{score['mean']:.4g}",
                "" if sd is None else f"{sd:.2g}",
                "" if floor is None else f"{floor:.4g}",
                str(score.get("better") or ""),
                str(score.get("step", "")),
                compared,
                score["fingerprint"],
                score.get("marks", []),
                str(score.get("meaning") or ""),
                protocol,
            )
        )
    return rows


def diagnosis(run: Run) -> list[tuple[str, list[str], list[list[str]]]]:
    """What was diagnosed, as tables: title, columns, rows."""
    tables = []
    told = {**run.diagnosis, "slopes": _slopes(run.diagnosis)}
    for name, title in DIAGNOSES.items():
        found = told.get(name)
        rows = [
            row
            for row in (found if isinstance(found, list) else [found])
            if isinstance(row, dict) and row
        ]
        columns = list(dict.fromkeys(key for row in rows for key in row))
        cells = [
            [
                (
                    f"{value:.4g}"
                    if (value := number(row.get(key))) is not None
                    else _words(row.get(key, ""))
                )
                for key in columns
            ]
            for row in rows
        ]
        tables += [(title, columns, cells)] if rows else []
    return tables


def _slopes(found: Plain) -> list[Plain]:
    """The slope at each lam."""
    rows, slopes = found.get("gradients"), found.get("slopes")
    if not isinstance(rows, list) or not isinstance(slopes, list):
        return []
    lams = dict.fromkeys(lam for row in rows if (lam := number(table(row).get("lam"))) is not None)
    return [
        {"lam": lam, "slope": slope, "L0": found.get("L0")}
        for lam, slope in zip(lams, slopes, strict=False)
    ]


def environment(run: Run) -> list[tuple[str, str]]:
    """Where a run ran, and on which data."""
    known = {
        **table(run.environment.get("data")),
        **{f"version of {k}": v for k, v in table(run.environment.get("versions")).items()},
    }
    plain = {key: run.environment.get(key) for key in ("platform", "python", "devices", "command")}
    return [
        (key, _words(value))
        for key, value in {**known, **plain}.items()
        if value is not None and key != "form"
    ]


def group_label(group: SeedGroup) -> str:
    """A combination by its values."""
    return listed(group.values) or "all seeds"


def labels(runs: Sequence[Run]) -> list[str]:
    """Runs by what differs between them: a few values of their configs, else their folders."""
    configs = [
        {
            key: value
            for key, value in flat(run.config).items()
            if not key.startswith("card.") and key != "name"
        }
        for run in runs
    ]
    keys = [
        key
        for key in dict.fromkeys(k for config in configs for k in config)
        if len({repr(c.get(key)) for c in configs}) > 1
    ]
    names = [run.name if len({other.name for other in runs}) > 1 else "" for run in runs]
    told = [
        ", ".join([*filter(None, [name]), listed({k: c.get(k) for k in keys[:3]})])
        for name, c in zip(names, configs, strict=True)
    ]
    if len(set(told)) == len(runs) and len(keys) <= 3:
        return told
    return [run.path.resolve().name for run in runs]


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def differences(runs: Sequence[Run]) -> Plain:
    """The keys whose values differ between runs, with each run's value."""
    configs = [
        {key: value for key, value in flat(run.config).items() if not key.startswith("card.")}
        for run in runs
    ]
    keys = dict.fromkeys(key for config in configs for key in config)
    return {
        key: [_words(c.get(key, "—")) for c in configs]
        for key in keys
        if len({repr(c.get(key)) for c in configs}) > 1
    }
