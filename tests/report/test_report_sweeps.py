"""A sweep's folder becomes its grid: cells in their places, means over seeds, and nothing averaged
that is not comparable.
"""

import csv
import io
import json
from typing import Any

import numpy as np
import pytest

from otgan.report.command import read
from otgan.report.grids import heat_map, lines
from otgan.report.numbers import as_csv, as_json, of_sweep
from otgan.report.page import render
from otgan.report.still import still
from otgan.results.aggregate import aggregate, compare, in_order, numbers
from otgan.results.quantities import RATIO
from otgan.results.run import read_run
from otgan.results.state import RunState
from otgan.results.sweep import groups, label, ordered, read_sweep, text
from tests.support.reports import SUMMARY, checked, end, run_folder, score, sweep_folder

LAM, EPSILON, LOSS = "oracle.lam", "oracle.epsilon", "oracle.loss"
AXES = {LOSS: ["regot", "sinkhorn"], EPSILON: ["0.3x", "0.02x"], LAM: [5.0, 0.05, 0.5]}


@pytest.fixture
def cells(tmp_path):
    """A sweep of 12 combinations and two seeds: W2 known, one cell diverged, one died, one
    combination not begun.
    """
    found = sweep_folder(tmp_path / "s", AXES, [0, 1])
    for i, (place, folder) in enumerate(found.items()):
        if place[:3] == ("regot", "0.02x", 5.0):
            continue
        if place == ("regot", "0.3x", 5.0, 1):
            end(
                folder,
                state="diverged",
                reason="loss became nan at step 3",
                summary={"w2": 1e9, "w2_floor": 0.4},
            )
        elif place == ("sinkhorn", "0.3x", 0.05, 0):
            (folder.path / "log.txt").write_text("compiling\nMemoryError: out of memory\n")
        else:
            end(
                folder,
                summary={
                    **SUMMARY,
                    "w2": 0.5 + i / 100,
                    "converged_share": 0.75 if place[2] == 5.0 else 1.0,
                },
            )
    return found


def board_of(path):
    return aggregate(read_sweep(path))


def test_values_in_any_spelling_are_one_value():
    assert text("1e-1") == text(0.1) == text("0.10") == "0.1"
    assert text("0.30x") == "0.3x"
    assert text("sinkhorn") == "sinkhorn"
    assert text(True) == "true"
    assert ordered(["0.3x", "10", "kl", "2", "0.02x", "2"]) == ["2", "10", "0.02x", "0.3x", "kl"]


def test_a_sweeps_cells_are_in_their_places(cells, tmp_path):
    sweep = read_sweep(tmp_path / "s")
    assert sweep.problems == []
    assert sweep.plane == [LAM, EPSILON]
    assert sweep.others == [LOSS]
    assert sweep.axes == {
        LOSS: ["regot", "sinkhorn"],
        EPSILON: ["0.02x", "0.3x"],
        LAM: ["0.05", "0.5", "5"],
    }
    found = {
        tuple(g.values.values()): (
            g.counts[RunState.FINISHED],
            g.counts[RunState.FAILED],
            g.counts[RunState.MISSING],
        )
        for g in groups(sweep)
    }
    assert len(found) == 12
    assert found["regot", "0.02x", "5"] == (0, 0, 2)
    assert found["regot", "0.3x", "5"] == (1, 1, 0)
    assert found["sinkhorn", "0.3x", "0.05"] == (1, 1, 0)
    assert found["sinkhorn", "0.3x", "0.5"] == (2, 0, 0)


def test_means_are_over_the_seeds_that_finished(cells, tmp_path):
    told = of_sweep(read_sweep(tmp_path / "s"))
    means = {tuple(m["values"].values()): m["numbers"].get("w2") for m in told["means"]}
    place = {key[:3]: [] for key in cells}
    for i, key in enumerate(cells):
        place[key[:3]].append(0.5 + i / 100)
    expected = place["sinkhorn", "0.02x", 0.5]
    assert means["sinkhorn", "0.02x", "0.5"] == pytest.approx(
        {"mean": np.mean(expected), "sd": np.std(expected, ddof=1), "n": 2}
    )
    assert means["regot", "0.3x", "5"] == {
        "mean": pytest.approx(place["regot", "0.3x", 5.0][0]),
        "sd": None,
        "n": 1,
    }
    assert means["regot", "0.02x", "5"] is None
    json.loads(as_json(told))
    rows = list(csv.DictReader(io.StringIO(as_csv(told))))
    assert len(rows) == 24
    assert {(row[LOSS], row["lam"], row["epsilon"], row["seed"]) for row in rows} == {
        (loss, text(lam), epsilon, str(seed)) for loss, epsilon, lam, seed in cells
    }
    assert sum(float(row["w2"]) for row in rows if row["state"] == "finished") == pytest.approx(
        sum(sum(values) for key, values in place.items() if key != ("regot", "0.02x", 5.0))
        - place["regot", "0.3x", 5.0][1]
        - place["sinkhorn", "0.3x", 0.05][0]
    )


def test_the_heat_map_carries_its_numbers_and_its_gaps(cells, tmp_path):
    board = board_of(tmp_path / "s")
    figure = heat_map(board, "w2", {LOSS: "regot"})
    heat, missing = figure["data"]
    assert (heat["x"], heat["y"]) == (["0.05", "0.5", "5"], ["0.02x", "0.3x"])
    for row, epsilon in enumerate(heat["y"]):
        for column, lam in enumerate(heat["x"]):
            group = board.groups[heat["customdata"][row][column]]
            assert group.values == {LOSS: "regot", EPSILON: epsilon, LAM: lam}
            found = board.spread(group, "w2")
            assert heat["z"][row][column] == (found.mean if found else None)
            assert heat["text"][row][column].startswith(f"<b>{found.mean:.4g}</b>" if found else "")
    assert "75.0% ≤ ε" in heat["text"][1][2]
    assert "1 of 2 seeds" in heat["text"][1][2]
    assert (missing["x"], missing["y"], missing["text"]) == (["5"], ["0.02x"], ["not begun"])
    checked(figure)


def test_lines_have_the_spread_of_the_seeds(cells, tmp_path):
    board = board_of(tmp_path / "s")
    figure = lines(board, "w2", LAM, [LOSS], {EPSILON: "0.3x"})
    regot, sinkhorn = figure["data"]
    assert (regot["name"], sinkhorn["name"]) == ("loss regot", "loss sinkhorn")
    assert regot["x"] == [0.05, 0.5, 5.0]
    assert regot["error_y"]["array"] == pytest.approx([np.std([0.0, 0.01], ddof=1)] * 2 + [0.0])
    assert regot["line"]["dash"] != sinkhorn["line"]["dash"]
    assert regot["marker"]["symbol"] != sinkhorn["marker"]["symbol"]
    assert figure["layout"]["xaxis"]["type"] == "log"
    checked(figure)
    assert (
        lines(board, "w2", LOSS, [], {EPSILON: "0.3x", LAM: "5"})["layout"]["xaxis"]["type"]
        == "category"
    )


def test_a_still_picture_has_a_line_for_every_other_combination(cells, tmp_path):
    board, figure = board_of(tmp_path / "s"), still(read_sweep(tmp_path / "s"))
    assert [panel.get_title() for panel in figure.axes if panel.axison] == [
        "w2 / w2 floor, lower is better",
        "modes, higher is better",
        "converged share, higher is better",
    ]
    assert figure.axes[2].get_ylim() == (-0.03, 1.03)  # a share
    panel = figure.axes[0]
    assert (panel.get_xlabel(), panel.get_xscale()) == ("lam", "log")
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["0.05", "0.5", "5"]
    _, labels = panel.get_legend_handles_labels()
    assert labels == [
        "loss regot, epsilon 0.02x",
        "loss regot, epsilon 0.3x",
        "loss sinkhorn, epsilon 0.02x",
        "loss sinkhorn, epsilon 0.3x",
    ]
    containers: list[Any] = panel.containers
    for words, bars in zip(labels, containers, strict=True):
        loss, epsilon = (word.split()[1] for word in words.split(", "))
        points = [
            (g, found)
            for g in board.within({LOSS: loss, EPSILON: epsilon})
            if (found := board.spread(g, RATIO))
        ]
        line, _, (spread,) = bars.lines
        assert line.get_xydata() == pytest.approx(
            np.array([[float(g.values[LAM]), found.mean] for g, found in points])
        )
        heights = [ends[1, 1] - ends[0, 1] for ends in spread.get_segments()]
        assert heights == pytest.approx([2 * (found.sd or 0.0) for _, found in points])


def test_a_still_picture_shows_what_real_examples_get(tmp_path):
    for i, folder in enumerate(
        sweep_folder(tmp_path / "s", {LOSS: ["regot", "sinkhorn"]}, [0]).values()
    ):
        end(folder, summary={}, scores=[score(0.4 + i, floor=0.25)])
    (panel,) = (panel for panel in still(read_sweep(tmp_path / "s")).axes if panel.axison)
    handles = dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    assert set(handles["real examples"].get_ydata()) == {0.25}
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["regot", "sinkhorn"]


def test_a_sweep_that_has_not_begun_has_an_empty_picture(tmp_path):
    sweep_folder(tmp_path / "s", {LAM: [0.1, 1.0]}, [0])
    assert not [panel for panel in still(read_sweep(tmp_path / "s")).axes if panel.axison]


def test_an_axis_of_one_value_takes_no_room(tmp_path):
    for folder in sweep_folder(
        tmp_path / "s", {LAM: [0.1], EPSILON: ["0.3x", "0.02x"]}, [0]
    ).values():
        end(folder)
    sweep = read_sweep(tmp_path / "s")
    assert sweep.plane == [EPSILON, LAM]
    panel: Any = still(sweep).axes[0]
    assert panel.get_xlabel() == "epsilon"
    assert len(panel.containers[0].lines[0].get_xdata()) == 2


def test_a_score_of_an_older_checkpoint_is_no_result(tmp_path):
    for folder in sweep_folder(tmp_path / "s", {LAM: [0.1, 1.0]}, [0]).values():
        end(
            folder,
            scores=[
                score(2.0, step=40),
                score(99.0, step=20),
                score(98.0, step=20, metric="kid[x]"),
            ],
        )
    told = of_sweep(read_sweep(tmp_path / "s"))
    assert [m["numbers"]["fid[x]"]["mean"] for m in told["means"]] == [2.0, 2.0]
    assert all("kid[x]" not in m["numbers"] for m in told["means"])


def test_a_judged_number_is_not_the_summarys_of_the_same_name(tmp_path):
    for folder in sweep_folder(tmp_path / "s", {LAM: [0.1, 1.0]}, [0]).values():
        end(folder, scores=[score(7.0, metric="w2")])
    told = of_sweep(read_sweep(tmp_path / "s"))
    assert [
        (m["numbers"]["w2"]["mean"], m["numbers"]["w2 (judged)"]["mean"]) for m in told["means"]
    ] == [(SUMMARY["w2"], 7.0)] * 2


def test_interrupted_cells_are_no_failures(tmp_path):
    for place, folder in sweep_folder(tmp_path / "s", {LAM: [0.1, 1.0, 10.0]}, [0]).items():
        end(folder, state={0.1: "interrupted", 1.0: "running", 10.0: "finished"}[place[0]])
    counts = [group.counts for group in groups(read_sweep(tmp_path / "s"))]
    assert [c[RunState.INTERRUPTED] for c in counts] == [1, 0, 0]
    assert [c[RunState.FAILED] for c in counts] == [0, 1, 0]  # no process is at work in it any more
    page = render(read_sweep(tmp_path / "s"))
    assert "1 interrupted" in page
    assert "1 failed" in page


def test_scores_by_different_protocols_are_not_averaged(tmp_path):
    cells = sweep_folder(tmp_path / "s", {LAM: [1.0]}, [0, 1, 2])
    for folder, print_ in zip(cells.values(), ("abc", "abc", "other"), strict=True):
        end(
            folder,
            scores=[
                score(1.0),
                score(3.0, fingerprint=print_, samples=100 if print_ == "abc" else 5),
            ],
        )
    told = of_sweep(read_sweep(tmp_path / "s"))
    assert told["means"][0]["numbers"]["fid[x] (abc)"] == {
        "mean": pytest.approx(7 / 3),
        "sd": pytest.approx(2 / 3**0.5),
        "n": 3,
    }
    assert told["means"][0]["numbers"]["fid[x] (other)"] == {"mean": 3.0, "sd": None, "n": 1}
    (note,) = told["notes"]
    assert "abc and other differ in samples (100 against 5)" in note


def test_what_was_meant_to_be_a_sweep_is_shown_as_far_as_it_goes(cells, tmp_path):
    *_, one, two, three = cells.values()
    (one.path / "cell.json").write_text("{")
    (two.path / "cell.json").write_text('{"values": {"oracle.lam": 7}, "seed": "x"}')
    (three.path / "config.json").write_text("[")
    (tmp_path / "s/cells/stray").mkdir()
    told = json.loads((tmp_path / "s/sweep.json").read_text())
    (tmp_path / "s/sweep.json").write_text(json.dumps({**told, "format": 9, "seeds": "three"}))
    sweep = read_sweep(tmp_path / "s")
    notes = " ".join(sweep.problems)
    assert "format 9" in notes
    assert f"{one.path.name} is left out: its cell.json names no values" in notes
    assert f"{two.path.name} has no value of every axis" in notes
    assert "stray is left out: it holds no run" in notes
    page = render(sweep)
    assert "config.json could not be read" in page
    assert "its log ends: MemoryError: out of memory" in page
    assert "loss became nan at step 3" in page
    (tmp_path / "s/sweep.json").write_text("half a li")
    assert "sweep.json could not be read" in render(read([tmp_path / "s"]))


def test_a_sweep_that_has_not_begun_has_a_page(tmp_path):
    sweep_folder(tmp_path / "s", {LAM: [1.0, 2.0]}, [0])
    page = render(read([tmp_path / "s"]))
    assert "No cell has finished yet" in page
    assert "2 not begun" in page


def test_numbers_come_with_scores_first(tmp_path):
    run = read_run(run_folder(tmp_path / "r", scores=[score(9.0, step=20), score(3.0)]).path)
    comparison = compare([run])
    found = numbers(run, comparison)
    assert found["fid[x]"] == 3.0
    assert found["w2 / w2_floor"] == pytest.approx(1.25)
    assert in_order([found], comparison)[:3] == ["fid[x]", "w2 / w2_floor", "modes"]


def test_a_sweep_of_seeds_alone_has_a_page_without_a_map(tmp_path):
    for (seed,), folder in sweep_folder(tmp_path / "s", {}, [0, 1]).items():
        end(folder, {**SUMMARY, "modes": 20.0 + seed})
    sweep = read_sweep(tmp_path / "s")
    assert [label(cell) for cell in sweep.cells] == ["seed 0", "seed 1"]
    (group,) = groups(sweep)
    spread = aggregate(sweep).spread(group, "modes")
    assert spread
    assert (spread.mean, len(spread.values)) == (20.5, 2)
    page = render(sweep)
    assert '<section id="map" hidden>' in page
    assert "Along each axis" not in page
    assert "The page opens on seed " in page
