"""What a sweep's page shows of its cells: which it opens on, all their pictures, all axes at once,
and curves against seconds.
"""

import json
import re

import pytest

from otgan.report import boards
from otgan.report.charts import clock, of_run, of_runs
from otgan.report.command import read
from otgan.report.page import render
from otgan.report.parallel import parallel
from otgan.results.aggregate import aggregate
from otgan.results.run import read_run
from otgan.results.sweep import read_sweep
from tests.report.test_report_page import Page
from tests.support.reports import SUMMARY, checked, end, line, run_folder, sweep_folder, write_lines

LAM, EPSILON, LOSS = "oracle.lam", "oracle.epsilon", "oracle.loss"
AXES = {LAM: [0.1, 1.0], EPSILON: ["0.1x", "0.3x"], LOSS: ["regot", "sinkhorn"]}


@pytest.fixture
def cube(tmp_path):
    """Eight combinations, the first the best; nothing of the last."""
    for i, folder in enumerate(sweep_folder(tmp_path / "s", AXES, [0]).values()):
        if i < 7:
            end(folder, summary={**SUMMARY, "w2": 1.0 + i})
    return aggregate(read_sweep(tmp_path / "s"))


def cells_of(path, states):
    """A sweep whose cells, by lam and seed, ended so."""
    folders = sweep_folder(path, {LAM: [0.1, 1.0]}, [0, 1])
    for place, folder in folders.items():
        if state := states.get(place):
            end(folder, state=state, summary={**SUMMARY, "w2": place[0]})
    return render(read([path]))


def opened(page):
    """The combination that the page opens on, its seed, and what it says of it."""
    parsed = Page(page)
    (place,) = (attrs["data-opens"] for _, attrs in parsed.elements if "data-opens" in attrs)
    template = page.split(f'<template id="group-{place}">')[1].split("</template>")[0]
    tabs = [tab for tab in re.findall(r"<button[^>]*>[^<]*", template) if "data-first" in tab]
    said = re.search(r'id="opened">([^<]*)<', page)
    return place, [tab.split("seed ")[1] for tab in tabs], said and said[1]


def test_a_page_opens_on_a_seed_that_finished(tmp_path):
    states = {(0.1, 0): "failed", (0.1, 1): "finished", (1.0, 0): "finished"}
    assert opened(cells_of(tmp_path / "s", states)) == (
        "0",
        ["1"],
        "The page opens on lam 0.1, seed 1 (finished): the best by w2 / w2_floor.",
    )


def test_it_says_when_none_has(tmp_path):
    failed = cells_of(tmp_path / "failed", {(1.0, 1): "failed"})
    assert opened(failed) == (
        "1",
        ["1"],
        "The page opens on lam 1, seed 1 (failed): none has come to its end.",
    )
    assert opened(cells_of(tmp_path / "waiting", {}))[2] == (
        "The page opens on lam 0.1, seed 0 (not begun): none has begun."
    )


def test_several_runs_open_on_one_that_finished(tmp_path):
    states = ("failed", "interrupted", "finished", "finished")
    folders = [run_folder(tmp_path / f"r{i}", state=state) for i, state in enumerate(states)]
    page = Page(render(read([folder.path for folder in folders])))
    assert "The page opens on r2 (finished)." in " ".join(page.text)
    assert [attrs["data-show"] for attrs in page.all("button") if "data-first" in attrs] == [
        "run-2"
    ]


def test_the_gallery_has_the_last_picture_of_every_cell_in_the_order_of_the_axes(cube):
    page = render(cube.sweep)
    buttons = [attrs for attrs in Page(page).all("button") if "data-cell" in attrs]
    assert [attrs["data-choose"] for attrs in buttons] == [str(i) for i in range(8)]
    shown = {cell.path: f"run-{i}" for i, cell in enumerate(cube.sweep.cells)}
    assert [attrs["data-cell"] for attrs in buttons] == [
        shown[group.cells[0].path] for group in cube.groups
    ]
    gallery = page.split('<section id="gallery">')[1].split("</section>")[0]
    labels = re.findall("<strong>([^<]*)</strong>", gallery)
    assert labels[:2] == [
        "lam 0.1, epsilon 0.1x, loss regot",
        "lam 0.1, epsilon 0.1x, loss sinkhorn",
    ]
    assert gallery.count("data:image/webp") == 7
    assert gallery.count("no picture") == 1
    assert gallery.count("not begun") == 1
    # the panel takes it from there, so that it is in the page once
    taken = [attrs["data-from"] for attrs in Page(page).all("img") if "data-from" in attrs]
    assert sorted(taken) == sorted(set(re.findall('id="(picture-run-[0-9]+)"', gallery)))


def test_more_than_two_axes_are_shown_at_once(cube):
    figure = parallel(cube, "w2")
    checked(figure)
    by_place = {trace["customdata"][0]: trace for trace in figure["data"]}
    assert sorted(by_place) == list(range(7))
    assert all(len(trace["x"]) == len(trace["y"]) == 4 for trace in figure["data"])
    # the number, at the end of the line
    assert [by_place[i]["y"][-1] for i in range(7)] == pytest.approx(
        [i / 6 for i in range(7)], abs=1e-3
    )
    # each line passes nearest to its own value
    for place, trace in by_place.items():
        values = cube.groups[place].values
        for (key, among), y in zip(cube.sweep.axes.items(), trace["y"], strict=False):
            assert round(y) == among.index(values[key])
    # the least are the best
    assert {i for i, trace in by_place.items() if trace["line"]["width"] > 2} == {0, 1}
    ticks = [note["text"] for note in figure["layout"]["annotations"]]
    assert ticks == ["0.1", "1", "0.1x", "0.3x", "regot", "sinkhorn", "1", "7"]


def test_two_axes_have_their_heat_map_and_no_more(tmp_path):
    sweep_folder(tmp_path / "s", {LAM: [0.1, 1.0], EPSILON: ["0.1x", "0.3x"], LOSS: ["regot"]}, [0])
    two = aggregate(read_sweep(tmp_path / "s"))
    assert not boards.has_parallel(two)
    assert 'id="parallel"' not in render(two.sweep)


def test_a_clock_tells_the_seconds_of_steps(tmp_path):
    folder = run_folder(tmp_path / "r")
    assert clock(read_run(folder.path)) is None
    seconds = {10: 1.0, 20: 3.0, 30: 2.0, 40: "x", 50: 9.0}
    write_lines(folder.metrics, [line(step, seconds=told) for step, told in seconds.items()])
    # what goes backwards, or is no number, is no tick
    assert clock(read_run(folder.path)) == {"steps": [0, 10, 20, 50], "seconds": [0, 1, 3, 9]}
    write_lines(folder.metrics, [line(step, seconds=step / 7) for step in range(1, 5_000)])
    found = clock(read_run(folder.path))
    assert found is not None
    assert len(found["steps"]) <= 61
    assert found["steps"][-1] == 4_999


def test_the_curves_know_their_clocks(tmp_path):
    lines = [line(step, seconds=step / 7) for step in (10, 20)]
    runs = [read_run(run_folder(tmp_path / f"r{i}", lines=lines).path) for i in (0, 1)]
    assert of_runs(runs, ["a", "b"])["loss"]["clocks"] == ["run-0", "run-1"]
    assert "loss" in of_run(runs[0])
    for target in (runs, runs[:1]):
        page = Page(render(target))
        figures = page.figures
        named = {id for figure in figures.values() for id in figure.get("clocks", [])}
        assert named == {f"run-{i}" for i in range(len(target))}
        assert all(f"{id}/clock" in figures for id in named)
        assert "data-clock" in json.dumps(page.elements)
    assert "data-clock" not in json.dumps(
        Page(render([read_run(run_folder(tmp_path / "r").path)])).elements
    )
