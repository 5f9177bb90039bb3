"""Curves keep their extremes when thinned, mark the steps above epsilon, and are figures that
plotly takes.
"""

import numpy as np
import pytest

from otgan.report.charts import curve, curves, of_run, of_runs, thin, uncertified
from otgan.results.run import read_run
from tests.support.reports import checked, line, run_folder, score


@pytest.mark.parametrize("size", [3, 1_000, 1_001, 7_654])
def test_a_thinned_curve_keeps_every_stretchs_extremes(size):
    rng = np.random.default_rng(size)
    xs, ys = [float(i) for i in range(size)], rng.standard_cauchy(size).tolist()
    x, y = thin((xs, ys), 1_000)
    assert len(x) <= max(1_000, size if size <= 1_000 else 0)
    assert x == sorted(x)
    assert set(zip(x, y, strict=True)) <= set(zip(xs, ys, strict=True))
    width = -(-size // 500) if size > 1_000 else 1
    kept = dict(zip(x, y, strict=True))
    for begin in range(0, size, width):
        stretch = [kept[i] for i in range(begin, min(begin + width, size)) if i in kept]
        assert max(stretch) == max(ys[begin : begin + width])
        assert min(stretch) == min(ys[begin : begin + width])


def test_the_spans_above_epsilon_are_those_of_the_windows(tmp_path):
    shares = [1.0, 0.9, 0.0, 1.0, 0.5, 1.0]
    run = read_run(
        run_folder(
            tmp_path / "r",
            lines=[line(10 * (i + 1), dual_converged=s) for i, s in enumerate(shares)],
        ).path
    )
    assert uncertified(run) == [(10, 30), (40, 50)]


def test_chunks_that_solved_nothing_are_not_above_epsilon(tmp_path):
    lines = [
        line(10, dual_converged=0.0, ready=0.0),
        line(20, dual_converged=0.0, ready=0.1),
        line(30, dual_converged=0.1, ready=0.1),
    ]
    assert uncertified(read_run(run_folder(tmp_path / "r", lines=lines).path)) == [(10, 20)]


def test_iterations_are_those_of_a_step(tmp_path):
    lines = [
        line(10, dual_iterations=200),
        line(20, dual_iterations=250),
        line(24, dual_iterations=330),
    ]
    assert curve(read_run(run_folder(tmp_path / "r", lines=lines).path), "dual_iterations") == (
        [10, 20, 24],
        [20, 5, 20],
    )


def test_a_runs_figures(tmp_path):
    lines = [
        line(10 * i, dual_gap=3.0 if i == 7 else 1.0, dual_converged=0.9 if i == 7 else 1.0)
        for i in range(1, 30)
    ]
    scores = [score(5.0, step=10), score(4.0, step=20), score(9.0, fingerprint="other", step=20)]
    figures = of_run(read_run(run_folder(tmp_path / "r", lines=lines, scores=scores).path))
    assert list(figures) == [
        "loss",
        "dual_gap",
        "dual_iterations",
        "gradient_norm",
        "score fid[x] abc",
    ]
    gap, epsilon, crosses = figures["dual_gap"]["data"]
    assert figures["dual_gap"]["layout"]["yaxis"]["type"] == "log"
    assert set(epsilon["y"]) == {2.0}
    assert epsilon["line"]["dash"] != gap["line"]["dash"]
    assert (crosses["x"], crosses["y"]) == ([70], [3.0])
    for name in curves([]):
        assert [(s["x0"], s["x1"]) for s in figures[name]["layout"]["shapes"]] == [(60, 70)]
    assert figures["score fid[x] abc"]["data"][0]["y"] == [5.0, 4.0]
    assert figures["score fid[x] abc"]["data"][1]["y"] == [0.1, 0.1]  # the floor
    for figure in figures.values():
        checked(figure)


def test_many_short_spans_stay_few_shapes_that_cover_them(tmp_path):
    lines = [line(10 * i, dual_converged=float(i % 2)) for i in range(1, 1_000)]
    run = read_run(run_folder(tmp_path / "r", lines=lines).path)
    shapes = of_run(run)["loss"]["layout"]["shapes"]
    assert len(uncertified(run)) == 499
    assert len(shapes) <= 60
    for begin, end in uncertified(run):
        assert any(s["x0"] <= begin and end <= s["x1"] for s in shapes)


def test_several_runs_differ_in_dash_and_symbol(tmp_path):
    runs = [read_run(run_folder(tmp_path / f"r{i}").path) for i in range(3)]
    figures = of_runs(runs, ["<b>one</b>", "two", "three"])
    traces = figures["loss"]["data"]
    assert traces[0]["name"] == "&lt;b&gt;one&lt;/b&gt;"
    assert len({(t["line"]["dash"], t["marker"]["symbol"]) for t in traces}) == 3
    for figure in figures.values():
        checked(figure)
