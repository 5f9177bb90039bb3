"""Tables and folders of the user's own, as users type them."""

import json

import numpy as np
import pytest
from PIL import Image

import otgan as api
from otgan.restore import read_columns
from otgan.runs import RunFolder
from tests.support.commands import TINY, otgan, run_folders

LOUD = [word for word in TINY if word != "--quiet"]

pytestmark = pytest.mark.slow


@pytest.fixture
def table(elsewhere):
    points = np.random.default_rng(0).normal(size=(300, 2))
    rows = [f"{a},{b},{'up' if b > 0 else 'down'}" for a, b in points]
    with open("x.csv", "w") as file:  # noqa: PTH123
        file.write("\n".join(["a,b,kind", *rows]))
    return "x.csv"


@pytest.fixture
def mixed(elsewhere, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "mixed").mkdir()
    for i in range(110):
        picture = rng.integers(0, 256, (12 + i % 3, 14, 4), np.uint8)
        Image.fromarray(picture).save(tmp_path / "mixed" / f"{i:03}.png")
    (tmp_path / "mixed" / "a.gif").write_bytes(b"")
    return tmp_path / "mixed"


def test_a_table_is_trained_on_said_recorded_resumed_and_judged(table):
    done = otgan("run", "sinkhorn-grid", "--data", table, "--label", "kind", *LOUD, "--out", "run")
    assert done.exit_code == 0, done.output
    said = "x.csv: 300 rows of the columns a, b, 2 labels in kind"
    assert done.output.splitlines()[0] == said
    with open("run/environment.json") as file:  # noqa: PTH123
        assert json.load(file)["data"]["notes"] == [said]
    again = otgan("run", "run", "--steps", 6)
    assert again.exit_code == 0, again.output
    judged = otgan("eval", "run", "--modes", "--samples", 300)
    assert judged.exit_code == 0, judged.output
    assert "labels_hit" in judged.output
    assert said in judged.output
    of_files = otgan("eval", "run", "--modes", "--reference", "run", "--samples", 300, "--json")
    assert {json.loads(line)["metric"] for line in of_files.output.splitlines()} == {
        "labels_hit",
        "label_kl",
    }


def test_python_takes_the_same(table):
    run = api.train(
        "sinkhorn-grid",
        {"data.columns": ["b", "a"], "train.steps": 4, "batch.size": 32},
        data=table,
    )
    assert run.config.model_dump()["data"]["columns"] == ("b", "a")
    assert read_columns(RunFolder(run.path)) == ("b", "a")
    found = api.score(run, samples=100, reference=str(run.path))
    assert found["sliced_w2"]["mean"] > 0


def test_a_mixed_folder_is_repaired_by_the_flags_that_the_refusal_names(mixed):
    refused = otgan("run", "sinkhorn-mnist", "--data", mixed, *LOUD)
    assert refused.exit_code == 2
    assert "--resize 12 --crop center" in refused.output
    assert not run_folders()
    flags = ["--resize", 12, "--crop", "center", "--channels", "gray"]
    done = otgan("run", "sinkhorn-mnist", "--data", mixed, *flags, *LOUD, "--out", "run")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[:3] == [
        "mixed: 110 pictures of 12 x 12 pixels, gray",
        "110 of them with transparent parts, laid onto white",
        "skipped: 1 .gif file",
    ]
    assert otgan("run", "run").exit_code == 0


def test_a_dry_run_refuses_what_the_run_would(table):
    np.save("holes.npy", np.full((200, 2), np.nan))
    np.save("few.npy", np.random.default_rng(0).normal(size=(120, 2)))
    np.save("wide.npy", np.random.default_rng(0).normal(size=(300, 3)))
    np.save("small.npy", np.random.default_rng(0).integers(0, 256, (120, 16, 16), np.uint8))
    for words, sentence in (
        (
            ["pictures", "--data", "small.npy", "--features", "random:pixels/5-mean"],
            "'pixels/5-mean' cuts a map of 16 x 16 into equal windows: give pixels/",
        ),
        (["sinkhorn-grid", "--data", "holes.npy"], "hold NaN, infinity"),
        (["sinkhorn-grid", "--data", "nowhere.npy"], "does not exist"),
        (["sinkhorn-grid", "--data", "few.npy"], "fewer than the 512 of a batch: give"),
        (["convex-map", "--data", "few.npy", "--set", "source=wide.npy"], "they must agree"),
    ):
        dry, run = (otgan("run", *words, *more) for more in (["--dry-run"], []))
        assert dry.exit_code == run.exit_code == 2
        assert sentence in dry.output
        refused = [line for line in run.output.splitlines() if not line.startswith("why ")]
        assert dry.output.splitlines() == refused
    flags = ["--columns", "a,b", "--batch-size", 32, "--dry-run"]
    sound = otgan("run", "sinkhorn-grid", "--data", table, *flags)
    assert json.loads(sound.output)["data"]["columns"] == ["a", "b"]
    assert not run_folders()


def test_bad_data_are_one_sentence_and_nothing_is_touched(table):
    np.save("constant.npy", np.c_[np.arange(200), np.zeros(200)])
    np.save("few.npy", np.random.default_rng(0).normal(size=(120, 2)))
    for words, sentence in (
        (["--data", table], "the column kind of"),
        (["--data", "constant.npy"], "are constant (1): leave them out with --columns 0,"),
        (["--data", "few.npy", "--batch-size", 256], "fewer than the 256 of a batch: give"),
        (["--columns", "a"], "unknown key data.columns"),
    ):
        done = otgan("run", "sinkhorn-grid", *words)
        assert done.exit_code == 2, done.output
        assert sentence in done.output
        assert "Traceback" not in done.output
    assert not run_folders()
