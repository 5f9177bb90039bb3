"""Sweeps made by hand: cells whose runs say what a test wants."""

import json

from otgan.sweep.ledger import Ledger
from otgan.sweep.plan import make_plan


def grid(lams=(0.1, 1.0), seeds=1, measures=(), **overrides):
    return make_plan("sinkhorn-grid", {"train.steps": 10, **overrides}, {"oracle.lam": [*lams]}, seeds, measures)


def recorded(path, plan):
    ledger = Ledger(path)
    ledger.record(plan.sweep, plan.cells)
    return ledger


def say(ledger, cell, state="finished", step=10, **summary):
    summary = {"converged_share": 1.0, "seconds": 2.0, "gap_kind": "certified", **summary}
    ledger.folder(cell.id).write_status(state, step, 2.0, summary)


def score(ledger, cell, metric, mean, step=10, **protocol):
    folder = ledger.folder(cell.id)
    folder.eval.mkdir(exist_ok=True)
    protocol = {"metric": metric, "samples": 100, **protocol}
    body = {"mean": mean, "sd": None, "values": [mean], "floor": None, "better": "lower"}
    line = {"subject": cell.id, "step": step, "metric": metric, **body, "fingerprint": json.dumps(protocol), "protocol": protocol}
    with folder.scores.open("a") as lines:
        lines.write(json.dumps(line) + "\n")
