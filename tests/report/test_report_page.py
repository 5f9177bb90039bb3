"""The page is one file that asks nothing of a network, and shows what it is given as text."""

import base64
import gzip
import hashlib
import io
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from otgan.report.command import read
from otgan.report.page import render
from otgan.report.pictures import films
from otgan.report.room import alone, among, spread_out
from otgan.results.quantity import Curve, Quantity, Warned
from otgan.results.run import read_run
from tests.support.reports import (
    end,
    line,
    picture,
    renamed,
    run_folder,
    score,
    sweep_folder,
    write_lines,
)

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"&amp;{{ 7 * 7 }}"


class Page(HTMLParser):
    """Its elements, and the text of some."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.scripts, self.text, self._open = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        inside = self._open[-1] if self._open else ""
        if inside == "script":
            self.scripts[-1] += data
        elif inside != "style":
            self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    def unpacked(self, script):
        """A script that lies in the page packed, as the browser unpacks it."""
        return gzip.decompress(base64.b64decode(self.scripts[script], validate=True)).decode()

    @property
    def figures(self):
        return json.loads(self.unpacked(0))


def hostile_run(path):
    folder = run_folder(
        path,
        scores=[score(3.0, metric=HOSTILE), score(2.0, metric=HOSTILE, step=50)],
        reason=HOSTILE,
        state="stopped",
    )
    own = Quantity(
        HOSTILE, HOSTILE, brief=HOSTILE, curve=Curve(HOSTILE, HOSTILE), warned=Warned(1.0, HOSTILE)
    )
    folder.write_environment({**folder.read_environment(), "quantities": [own.record()]})
    folder.write_status(
        "stopped", 40, 3.5, {**folder.read_status()["summary"], HOSTILE: 2.0}, HOSTILE
    )
    write_lines(folder.metrics, [line(step, **{HOSTILE: 1.0 * step}) for step in (10, 20)])
    renamed(folder, HOSTILE)
    return folder


def hostile_sweep(path):
    cells = sweep_folder(
        path,
        {
            "oracle.lam": [1.0, 2.0],
            "oracle.epsilon": ["0.1x"],
            "oracle.loss": ["regot", "sinkhorn"],
        },
        [0],
    )
    for folder in cells.values():
        renamed(end(folder, scores=[score(3.0, metric=HOSTILE)]), HOSTILE)
        told = json.loads((folder.path / "cell.json").read_text())
        (folder.path / "cell.json").write_text(
            json.dumps({**told, "values": {**told["values"], "oracle.loss": HOSTILE}})
        )
    told = json.loads((path / "sweep.json").read_text())
    (path / "sweep.json").write_text(json.dumps({**told, "experiment": HOSTILE}))


@pytest.fixture(params=["run", "runs", "sweep"])
def hostile(request, tmp_path):
    """A page of each kind whose folders name themselves as an attacker would."""
    if request.param == "sweep":
        hostile_sweep(tmp_path / "s")
        return render(read([tmp_path / "s"]))
    return render(
        read(
            [
                hostile_run(tmp_path / f"r{i}").path
                for i in range(1 if request.param == "run" else 2)
            ]
        )
    )


def test_a_hostile_name_is_text(hostile):
    page = Page(hostile)
    assert len(page.scripts) == 3
    assert any(HOSTILE in text for text in page.text)
    assert not [attrs for _, attrs in page.elements if any(name.startswith("on") for name in attrs)]
    assert not [
        attrs
        for attrs in page.all("img")
        if "data-from" not in attrs and not attrs["src"].startswith("data:image/")
    ]
    assert "<" not in page.scripts[0] + page.scripts[1]
    assert HOSTILE.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in json.dumps(
        page.figures
    ).replace('\\"', '"')


def test_the_page_asks_nothing_of_a_network_and_runs_its_own_scripts_alone(hostile):
    page = Page(hostile)
    places = [
        attrs.get(name, "")
        for _, attrs in page.elements
        for name in ("src", "href", "action", "srcset")
    ]
    assert not [place for place in places if place and not place.startswith(("data:", "#"))]
    (policy,) = (
        attrs["content"]
        for attrs in page.all("meta")
        if attrs.get("http-equiv") == "Content-Security-Policy"
    )
    digests = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in (page.unpacked(1), page.scripts[2])
    ]
    assert policy.startswith("default-src 'none'")
    assert policy.split("script-src ")[1] == " ".join(f"'sha256-{digest}'" for digest in digests)


def test_every_chart_has_its_figure(tmp_path):
    sweep_folder_ = sweep_folder(
        tmp_path / "s", {"oracle.lam": [1.0, 2.0], "oracle.loss": ["regot", "sinkhorn"]}, [0]
    )
    for folder in sweep_folder_.values():
        end(folder)
    for target in (
        read([tmp_path / "s"]),
        [read_run(run_folder(tmp_path / f"r{i}").path) for i in (0, 1)],
    ):
        page = Page(render(target))
        figures = page.figures
        keys = [attrs["data-figure"] for _, attrs in page.elements if "data-figure" in attrs]
        patterns = [attrs["data-pattern"] for _, attrs in page.elements if "data-pattern" in attrs]
        numbers = [f"{i}" for i, _ in enumerate(page.all("option"))]
        assert keys
        assert set(keys) | {
            p.replace("{metric}", "0").replace("{slice}", "0") for p in patterns
        } <= set(figures)
        assert not patterns or {
            key.split("/")[1] for key in figures if key.startswith("heat/")
        } <= set(numbers)


def test_the_verdict_is_the_share_of_certified_steps(tmp_path):
    good = render([read_run(run_folder(tmp_path / "a").path)])
    assert "All of its solved duals reached epsilon, by a gap certified on its batch." in good
    lines = [line(10, dual_converged=0.9)]
    bad = render(
        [
            read_run(
                run_folder(tmp_path / "b", summary={"converged_share": 0.99996}, lines=lines).path
            )
        ]
    )
    assert "99.9% of its solved duals reached epsilon" in bad
    assert "duals certified" not in bad


def test_the_config_says_what_differs(tmp_path):
    page = Page(render([read_run(run_folder(tmp_path / "r", overrides={"oracle.lam": 0.7}).path)]))
    assert "● 0.7" in page.text
    assert "Sinkhorn loss on the 5 x 5 grid of Gaussians" in page.text


def test_scores_stand_beside_floor_and_fingerprint(tmp_path):
    marked = {**score(3.25, fingerprint="f00d", floor=0.125), "marks": ["too few examples"]}
    text = " ".join(Page(render([read_run(run_folder(tmp_path / "r", scores=[marked]).path)])).text)
    for words in ("3.25", "0.125", "f00d", "too few examples", "100 with 100 test"):
        assert words in text


def test_a_score_by_the_features_of_the_training_says_so(tmp_path):
    """On the first screen of a run; beside other runs with the name of the run that it is
    true of.
    """
    said = {
        **score(3.25, metric="fid[x]"),
        "marks": ["the generator was trained on these features"],
    }
    one, other = (
        read_run(run_folder(tmp_path / name, scores=[line]).path)
        for name, line in (("one", said), ("other", score(4.5)))
    )
    assert "floor 0.1, △ the generator was trained on these features" in " ".join(
        Page(render([one])).text
    )
    together = " ".join(Page(render([one, other])).text)
    assert "fid[x] of one: the generator was trained on these features" in together
    assert "of other: the generator" not in together


def test_a_diagnosis_has_its_tables_and_picture(tmp_path):
    folder = run_folder(tmp_path / "r")
    found = {
        "gradients": [{"lam": 0.5, "error": 0.0123456, "bound": float("nan")}],
        "stationarity": {"norm": "<i>"},
        "batches": 3,
    }
    picture(folder.eval / "diagnosis-0000040.png")
    (folder.eval / "diagnosis-0000040.json").write_text(json.dumps(found))
    page = Page(render([read_run(folder.path)]))
    for words in ("Diagnosis", "lam", "0.5", "0.01235", "<i>"):
        assert words in page.text
    assert [attrs["alt"] for attrs in page.all("img")] == [
        "samples after step 20",
        "samples after step 40",
        "diagnosis after step 40",
    ]
    (folder.eval / "diagnosis-0000040.json").write_text("[")
    assert "diagnosis-0000040.json could not be read" in render([read_run(folder.path)])


def decoded(uri):
    with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as shown:
        return np.asarray(shown.convert("RGB"))


def test_pictures_are_shown_whole_alone_and_small_among_many(tmp_path):
    folder = run_folder(tmp_path / "r")
    picture(folder.picture(60), 120, (900, 900))
    run = read_run(folder.path)
    (whole,) = films(run.pictures, alone(), [])
    assert [frame.step for frame in whole.frames] == [20, 40, 60]
    assert [decoded(frame.uri).shape[0] for frame in whole.frames] == [40, 40, 900]
    assert (decoded(whole.frames[0].uri) == 60).all()
    room = among(1)._replace(frames=2)
    (small,) = films(run.pictures, room, [])
    assert [frame.step for frame in small.frames] == [20, 60]
    assert decoded(small.frames[1].uri).shape == (room.sides[0], room.sides[0], 3)
    assert abs(decoded(small.frames[1].uri).astype(int) - 120).max() <= 3


def test_a_picture_that_is_none_is_named_and_left_out(tmp_path):
    folder = run_folder(tmp_path / "r")
    folder.picture(20).write_bytes(b"<svg onload=alert(1)>")
    problems = []
    (film,) = films(read_run(folder.path).pictures, alone(), problems)
    assert [frame.step for frame in film.frames] == [40]
    assert "step-0000020.png is no picture" in problems[0]


@pytest.mark.parametrize(
    ("size", "most", "chosen"), [(3, 5, [0, 1, 2]), (11, 3, [0, 5, 10]), (4, 1, [3])]
)
def test_pictures_are_spread_over_the_steps(size, most, chosen):
    assert spread_out(range(size), most) == chosen
