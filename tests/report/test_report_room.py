"""Pictures and curves of a page share a room: more runs make it longer, not heavier."""

import base64
import gzip

import numpy as np
import pytest
from PIL import Image

from otgan.report.command import read
from otgan.report.page import render
from otgan.report.pictures import films
from otgan.report.room import ALONE, SHARED, alone, among, packed, points
from otgan.results.run import read_run
from tests.support.reports import end, line, run_folder, score, sweep_folder

LAM, EPSILON = "oracle.lam", "oracle.epsilon"


def noisy(path, side=300):
    """A picture that nothing makes smaller."""
    values = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(values).save(path, compress_level=1)


def bytes_of(found):
    return sum(len(frame.uri) for film in found for frame in film.frames)


@pytest.mark.parametrize("runs", [1, 12, 100, 400])
def test_the_pictures_of_all_runs_have_room(tmp_path, runs):
    folder = run_folder(tmp_path / "r")
    for step in range(20, 200, 10):
        noisy(folder.picture(step))
    noisy(folder.highlight("nearest", 190))
    found = films(read_run(folder.path).pictures, among(runs), [])
    assert bytes_of(found) * runs <= SHARED
    assert found[0].frames[-1].step == 190  # the last one is there, however small
    steps = [frame.step for frame in found[0].frames]
    assert steps == sorted(steps)


def test_a_simple_last_picture_lets_no_others_in_that_have_no_room(tmp_path):
    folder = run_folder(tmp_path / "r")
    for step in range(1, 20):
        noisy(folder.picture(step))
    found = films(read_run(folder.path).pictures, among(40), [])
    assert bytes_of(found) * 40 <= SHARED
    assert found[0].frames[-1].step == 40


def test_so_have_those_of_a_run_alone(tmp_path):
    folder = run_folder(tmp_path / "r")
    for step in range(20, 400, 10):
        noisy(folder.picture(step), 340)
    (film,) = films(read_run(folder.path).pictures, alone(), [])
    assert ALONE / 2 < bytes_of([film]) <= ALONE
    assert (film.frames[0].step, film.frames[-1].step) == (20, 390)


def test_a_curve_has_fewer_points_among_many(tmp_path):
    assert [points(runs) for runs in (1, 24, 48, 10_000)] == [1_000, 1_000, 500, 24]


def test_a_page_of_many_runs_draws_few_pictures_of_each():
    assert [among(runs).frames for runs in (1, 16, 50, 1_000)] == [12, 12, 4, 1]


def test_what_is_packed_is_the_same_text_in_the_same_letters():
    text = "Σ <script>" * 1_000
    assert gzip.decompress(base64.b64decode(packed(text), validate=True)).decode() == text
    assert packed(text) == packed(text)
    assert len(packed(text)) < len(text) / 10


@pytest.mark.slow
def test_a_page_of_forty_cells_is_no_heavier_than_one_of_a_few(tmp_path):
    random = np.random.default_rng(0)
    axes = {LAM: [0.1 * i for i in range(1, 11)], EPSILON: ["0.1x", "0.3x"]}
    for folder in sweep_folder(tmp_path / "s", axes, [0, 1]).values():
        lines = [
            line(step, loss=random.random(), dual_gap=random.random(), seconds=step / 100)
            for step in range(1, 800)
        ]
        end(folder, lines=lines, scores=[score(3.0, step=step) for step in (20, 40)])
        for step in (20, 40):
            noisy(folder.picture(step))
    page = render(read([tmp_path / "s"]))
    assert page.count("data:image/webp") >= 40
    assert len(page.encode()) < 5_000_000
