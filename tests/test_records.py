import json

import numpy as np

from otgan.records import windows
from otgan.runs import RunFolder


def test_windows_end_on_multiples_and_lose_nothing():
    n = 23
    records = {
        "loss": np.arange(n, dtype=np.float32),
        "dual_gap": np.arange(n)[::-1].astype(np.float32),
        "dual_iterations": np.full(n, 7),
        "dual_converged": np.arange(n) % 2 == 0,
        # no update at all in the first window
        "updates": np.where(np.arange(n) < 3, 0, np.arange(n) % 2),
    }
    out = windows(records, first=8, every=10)
    assert [w["step"] for w in out] == [10, 20, 30]
    assert [w["steps"] for w in out] == [3, 10, 10]
    assert "loss" not in out[0]
    assert out[1]["loss"] == np.mean([3, 5, 7, 9, 11])  # of the steps that had an update
    assert out[0]["dual_gap"] == 22  # the largest
    assert sum(w["dual_iterations"] for w in out) == 7 * n
    assert out[1]["dual_converged"] == 0.5


def test_truncation_drops_later_lines_and_half_lines(tmp_path):
    folder = RunFolder(tmp_path)
    folder.metrics.write_text(
        "".join(json.dumps({"step": s}) + "\n" for s in (10, 20, 30)) + '{"step": 4'
    )
    folder.truncate_metrics(20)
    assert [json.loads(line)["step"] for line in folder.metrics.read_text().splitlines()] == [
        10,
        20,
    ]


def test_truncation_keeps_scores_of_no_step_and_drops_what_is_no_line(tmp_path):
    folder = RunFolder(tmp_path)
    folder.eval.mkdir()
    odd = ["[1]", "null", '{"step": "9"}', '{"step": [1]}', "{}", "[" * 100_000]
    for path, kept in ((folder.scores, [10, None]), (folder.metrics, [10])):
        path.write_text("\n".join([*(json.dumps({"step": step}) for step in (10, None, 30)), *odd]))
        folder.truncate_metrics(20)
        assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == kept


def test_truncation_writes_nothing_where_nothing_is_dropped(tmp_path):
    folder = RunFolder(tmp_path)
    folder.metrics.write_text('{"step": 10}\n')
    there = folder.metrics.stat().st_ino
    folder.truncate_metrics(20)
    assert folder.metrics.stat().st_ino == there
