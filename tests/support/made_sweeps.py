"""Sweeps made by hand: cells whose runs say what a test wants."""

import json

from otgan.sweep.folder import SweepFolder
from otgan.sweep.plan import make_plan


def grid(lams=(0.1, 1.0), seeds=1, measures=(), **overrides):
    return make_plan(
        "sinkhorn-grid", {"train.steps": 10, **overrides}, {"oracle.lam": [*lams]}, seeds, measures
    )


def recorded(path, plan):
    root = SweepFolder(path)
    root.record(plan.sweep, plan.cells)
    return root


def say(root, cell, state="finished", step=10, **summary):
    summary = {"converged_share": 1.0, "seconds": 2.0, "gap_kind": "certified", **summary}
    root.folder(cell.id).write_status(state, step, 2.0, summary)


def score(root, cell, metric, mean, step=10, **protocol):
    folder = root.folder(cell.id)
    folder.eval.mkdir(exist_ok=True)
    protocol = {"metric": metric, "samples": 100, **protocol}
    body = {"mean": mean, "sd": None, "values": [mean], "floor": None, "better": "lower"}
    line = {
        "subject": cell.id,
        "step": step,
        "metric": metric,
        **body,
        "fingerprint": json.dumps(protocol),
        "protocol": protocol,
    }
    with folder.scores.open("a") as lines:
        lines.write(json.dumps(line) + "\n")
