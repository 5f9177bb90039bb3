"""`otgan eval` and `otgan scores`, as users type them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from otgan.data import digits
from tests.support.commands import SMALL, TINY, otgan, picture_size, run_folders

pytestmark = pytest.mark.slow

QUICK = ["--fid", "--samples", "300"]


@pytest.fixture(scope="module")
def grid_run(tmp_path_factory):
    """A run on points, judged as it trained."""
    path = tmp_path_factory.mktemp("runs") / "grid"
    done = otgan(
        "run",
        "sinkhorn-grid",
        *TINY,
        *SMALL,
        "--eval-every",
        2,
        "--set",
        'train.eval_measures=["fid"]',
        "--out",
        path,
    )
    assert done.exit_code == 0, done.output
    return path


@pytest.fixture(scope="module")
def digit_run(tmp_path_factory):
    """A run on the digits in the package."""
    path = tmp_path_factory.mktemp("runs") / "digits"
    done = otgan("run", "sinkhorn-mnist", "--data", "sample", *TINY, "--out", path)
    assert done.exit_code == 0, done.output
    return path


def stored(path):
    return [json.loads(line) for line in (path / "scores.jsonl").read_text().splitlines()]


@pytest.fixture
def pictures(tmp_path):
    """An `.npz` and a folder of the same 300 digits."""
    examples = digits.sample()[0][:300]
    np.savez(tmp_path / "x.npz", x=examples)
    (tmp_path / "folder").mkdir()
    for i, example in enumerate(examples):
        Image.fromarray(example[..., 0]).save(tmp_path / "folder" / f"{i:04}.png")
    return tmp_path / "x.npz", tmp_path / "folder"


def test_scores_while_training_are_those_of_eval(elsewhere, grid_run):
    trained = {(line["step"], line["metric"]): line for line in stored(grid_run / "eval")}
    assert [step for step, metric in trained if metric == "fid[points]"] == [2, 4, 6]
    judged = otgan("eval", grid_run, "--fid", "--json", "--out", "judged")
    lines = [json.loads(line) for line in judged.output.splitlines()]
    assert {line["step"] for line in lines} == {6}
    for line in lines:
        there = trained[6, line["metric"]]
        assert line["mean"] == pytest.approx(there["mean"], rel=1e-6)
        assert line["fingerprint"] == there["fingerprint"]
    assert (
        json.loads((grid_run / "status.json").read_text())["summary"]["scores"]["fid[points]"]
        == trained[6, "fid[points]"]["mean"]
    )


SHARES = ["precision", "recall", "density", "coverage"]
AT_END = ["w2", "modes", "high_quality", "mode_kl", "mode_width", *SHARES]


def test_the_summary_is_what_eval_measures(elsewhere, tmp_path):
    """To the digit, with the same fingerprint.

    And no reader takes the one for another number than the other.
    """
    otgan("run", "sinkhorn-grid", *TINY, *SMALL, "--out", tmp_path / "run")
    summary = json.loads((tmp_path / "run/status.json").read_text())["summary"]
    kept = {line["metric"]: line for line in stored(tmp_path / "run/eval")}
    assert list(kept) == list(summary["fingerprints"]) == AT_END
    done = otgan(
        "eval",
        tmp_path / "run",
        "--wasserstein",
        "--modes",
        "--pr",
        "--allow-few",
        "--json",
        "--out",
        "judged",
    )
    lines = {line["metric"]: line for line in map(json.loads, done.output.splitlines())}
    for name in AT_END:
        assert lines[name]["mean"] == kept[name]["mean"] == summary[name]
        assert (
            lines[name]["fingerprint"] == kept[name]["fingerprint"] == summary["fingerprints"][name]
        )
        assert lines[name]["floor"] == kept[name]["floor"]
    assert (summary["w2_floor"], summary["mode_kl_floor"]) == (
        kept["w2"]["floor"],
        kept["mode_kl"]["floor"],
    )
    assert summary["modes_total"] == 4
    otgan("eval", tmp_path / "run", "--modes", "--samples", 50)
    told = json.loads(otgan("report", tmp_path / "run", "--json").output)["runs"][0]["numbers"]
    assert {name: told[name] for name in AT_END} == {name: summary[name] for name in AT_END}
    assert {name for name in told if "(judged)" in name} == {
        "modes (judged)",
        "high_quality (judged)",
        "mode_kl (judged)",
        "mode_width (judged)",
    }


def test_samples_that_cannot_be_judged_leave_the_run_a_summary(elsewhere, tmp_path, monkeypatch):
    from otgan.evaluation import training

    monkeypatch.setattr(training, "draw", lambda *_: iter([np.zeros((30_000, 2), np.float32)]))
    done = otgan("run", "sinkhorn-grid", *TINY, *SMALL, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "are the same: there is nothing to judge" in done.output
    summary = json.loads((tmp_path / "run/status.json").read_text())["summary"]
    assert "loss" in summary
    assert "w2" not in summary


def test_a_resumed_run_has_its_scores_once(elsewhere, tmp_path):
    words = [
        "run",
        "sinkhorn-grid",
        *TINY,
        *SMALL,
        "--set",
        'train.eval_measures=["modes"]',
        "--out",
        tmp_path / "run",
    ]
    otgan(*words, "--eval-every", 3)
    otgan(*words, "--eval-every", 2)
    assert [
        line["step"] for line in stored(tmp_path / "run/eval") if line["metric"] == "modes"
    ] == [3, 6]


def test_without_a_name_the_newest_run_is_judged(elsewhere):
    for seed in (0, 1):
        otgan("run", "sinkhorn-grid", *TINY, *SMALL, "--seed", seed)
    done = otgan("eval", "--fid")
    assert done.exit_code == 0, done.output
    older, newer = run_folders()
    assert f"scores of {newer.resolve()}" in done.output
    judged = [{line["metric"] for line in stored(run / "eval")} for run in (older, newer)]
    assert judged[1] - judged[0] == {"fid[points]", "fid_infinity[points]"}


def test_points_get_everything_that_suits_them(elsewhere, grid_run):
    done = otgan("eval", grid_run, "--all", "--allow-few", "--samples", 400, "--out", "judged")
    assert done.exit_code == 0, done.output
    for metric in (
        "fid[points]",
        "kid[points]",
        "precision",
        "w1",
        "sinkhorn_divergence[points]",
        "w2_train",
        "modes",
        "memorised",
    ):
        assert metric in done.output
    assert "is left out: the features points know no classes" in done.output
    assert "* w1 needs 2,000 examples, and there are 400 generated ones" in done.output
    strict = otgan("eval", grid_run, "--all", "--samples", 400, "--out", "judged")
    assert strict.exit_code == 0, strict.output
    assert "left out: w1 needs 2,000 examples" in strict.output
    way_out = "--allow-few computes what needs more examples all the same, and marks it"
    assert (way_out in strict.output, way_out in done.output) == (True, False)


def test_every_score_is_kept_once(elsewhere, grid_run):
    for _ in range(2):
        otgan("eval", grid_run, "--fid", "--out", "judged")
    assert [line["metric"] for line in stored(Path("judged"))] == [
        "fid[points]",
        "fid_infinity[points]",
    ]
    otgan("eval", grid_run, "--fid", "--samples", 500, "--out", "judged")
    assert len(stored(Path("judged"))) == 4


def test_all_kept_checkpoints_are_judged(elsewhere, grid_run):
    done = otgan("eval", grid_run, "--modes", "--checkpoint", "all", "--out", "judged")
    assert done.exit_code == 0, done.output
    assert {line["step"] for line in stored(Path("judged"))} == {2, 4, 6}
    assert (
        "keeps no checkpoint of step 5; it has those of 2, 4, 6"
        in otgan("eval", grid_run, "--checkpoint", 5).output
    )
    assert (
        "--checkpoint last: give a step, or all"
        in otgan("eval", grid_run, "--checkpoint", "last").output
    )


def test_images_are_judged_by_a_network_that_the_score_names(elsewhere, digit_run):
    done = otgan(
        "eval", digit_run, *QUICK, "--nearest", "--allow-few", "--seeds", 2, "--out", "judged"
    )
    assert done.exit_code == 0, done.output
    line = stored(Path("judged"))[0]
    assert line["metric"] == "fid[mnist-lenet]"
    assert len(line["values"]) == 2
    assert line["sd"] > 0
    assert 0 < line["floor"] < line["mean"]
    assert len(line["protocol"]["weights"]) == 12
    assert min(picture_size(Path("judged/nearest-0000006.png"))) > 8 * 28


def test_a_run_is_judged_by_a_network_that_its_training_never_saw(elsewhere):
    """While it trains and afterwards.

    The one that it was trained on marks its scores, wherever they are shown.
    """
    words = [
        "--data",
        "sample",
        *TINY,
        "--features",
        "mnist-lenet",
        "--eval-every",
        6,
        "--set",
        'train.eval_measures=["fid"]',
    ]
    done = otgan("run", "sinkhorn-mnist", *words, "--set", "train.eval_samples=300", "--out", "run")
    assert done.exit_code == 0, done.output
    assert {(line["metric"], *line["marks"]) for line in stored(Path("run/eval"))} == {
        ("fid[mnist-allconv]",)
    }
    assert "fid[mnist-allconv]" in otgan("eval", "run", *QUICK).output
    marked = otgan("eval", "run", *QUICK, "--features", "mnist-lenet").output
    assert "fid[mnist-lenet] *" in marked
    assert "* the generator was trained on these features" in marked
    assert [line["marks"] for line in stored(Path("run/eval"))] == [
        [],
        ["the generator was trained on these features"],
    ]
    assert (
        "* fid[mnist-lenet] of run: the generator was trained on these features"
        in otgan("scores", "run").output
    )


def test_the_network_is_a_matter_of_choice(elsewhere, digit_run):
    for name in ("random", "pixels"):
        done = otgan(
            "eval",
            digit_run,
            *QUICK,
            "--allow-few",
            "--features",
            name,
            "--json",
            "--out",
            "judged",
        )
        assert json.loads(done.output.splitlines()[0])["metric"] == f"fid[{name}]"


def test_somebody_elses_images_are_judged(elsewhere, pictures):
    found = []
    for path in pictures:
        done = otgan("eval", path, "--fid", "--reference", "sample", "--json")
        assert done.exit_code == 0, done.output
        found.append(json.loads(done.output.splitlines()[0]))
    npz, folder = found
    assert npz["mean"] == pytest.approx(folder["mean"])
    assert npz["mean"] < 2 * npz["floor"] + 1  # they are real digits
    assert not Path("eval").exists()


def test_gray_pictures_are_the_same_in_one_channel_and_in_three(elsewhere, pictures):
    """Whichever side is stored with three equal channels, or has to have three because the other
    has colors.
    """
    gray, folder = pictures
    examples = np.load(gray)["x"]
    np.savez("rgb.npz", x=np.repeat(examples, 3, axis=3))
    Path("rgb").mkdir()
    for i, example in enumerate(np.repeat(examples, 3, axis=3)):
        Image.fromarray(example).save(Path("rgb") / f"{i:04}.png")

    def score(subject, reference):
        done = otgan(
            "eval",
            subject,
            "--fid",
            "--features",
            "pixels",
            "--reference",
            reference,
            "--allow-few",
            "--json",
        )
        assert done.exit_code == 0, done.output
        line = json.loads(done.output.splitlines()[0])
        return line["mean"], line["fingerprint"]

    alike = [
        score(subject, reference)
        for subject in (gray, folder, "rgb.npz", "rgb")
        for reference in ("rgb", "rgb.npz", gray, "sample")
    ]
    assert len({fingerprint for _, fingerprint in alike}) == 2  # the two references
    assert all(found == alike[i % 4 // 3 * 3] for i, found in enumerate(alike))
    tinted = np.repeat(examples, 3, axis=3)
    tinted[0, 0, 0] = [1, 2, 3]
    np.savez("tinted.npz", x=tinted)
    (low, _), (high, _) = score("tinted.npz", gray), score("rgb.npz", "tinted.npz")
    # three equal channels: thrice the squared distances
    assert low == pytest.approx(3 * alike[0][0], rel=0.05)
    assert high == pytest.approx(3 * alike[0][0], rel=0.05)


def test_rounding_is_a_part_of_the_protocol(elsewhere, digit_run):
    scores = []
    for flag in ("--quantize", "--no-quantize"):
        done = otgan(
            "eval",
            digit_run,
            *QUICK,
            "--features",
            "random",
            flag,
            "--json",
            "--allow-few",
            "--out",
            "judged",
        )
        scores.append(json.loads(done.output.splitlines()[0]))
    assert [score["protocol"]["quantisation"] for score in scores] == ["bytes", "none"]
    assert scores[0]["fingerprint"] != scores[1]["fingerprint"]
    assert scores[0]["mean"] == pytest.approx(scores[1]["mean"], rel=0.05)
    assert scores[0]["mean"] != scores[1]["mean"]


def test_scores_side_by_side_only_if_measured_alike(elsewhere, tmp_path):
    runs = [tmp_path / "a", tmp_path / "b"]
    for seed, path in enumerate(runs):
        otgan("run", "sinkhorn-grid", *TINY, *SMALL, "--seed", seed, "--out", path)
        otgan("eval", path, "--fid")
    done = otgan("scores", *runs)
    assert done.exit_code == 0, done.output
    means = [stored(path / "eval")[0]["mean"] for path in runs]
    assert all(f"{mean:.4g}" in done.output for mean in means)
    told = json.loads(otgan("scores", *runs, "--json").output)
    assert [next(iter(told.values()))[str(path)]["mean"] for path in runs] == means
    otgan("eval", runs[1], "--fid", "--samples", 500)
    assert otgan("scores", *runs).output == done.output  # the newest that were measured alike
    otgan("eval", runs[0], "--fid", "--samples", 500, "--out", "few")
    refused = otgan("scores", "few", tmp_path / "c")
    assert refused.exit_code == 2
    assert "keeps no scores" in refused.output
    otgan("eval", runs[1], "--fid", "--samples", 600, "--out", "other")
    refused = otgan("scores", "few", "other")
    assert refused.exit_code == 2
    assert "samples (500 against 600)" in refused.output


def test_a_generator_that_cannot_be_judged_trains_on(elsewhere, tmp_path, monkeypatch):
    from otgan.errors import UserError
    from otgan.evaluation import training

    def refuse(*_):
        raise UserError("all examples are the same")

    monkeypatch.setattr(training, "judge", refuse)
    done = otgan(
        "run", "sinkhorn-grid", *TINY, *SMALL, "--eval-every", 2, "--out", tmp_path / "run"
    )
    assert done.exit_code == 0, done.output
    assert "all examples are the same" in done.output
    assert json.loads((tmp_path / "run/status.json").read_text())["state"] == "finished"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["eval"], "there is no run in runs"),
        (["eval", "nothing", "--reference", "mnist"], "nothing does not exist"),
        (
            ["eval", "."],
            "is no run, so say what to compare it with: a reference (--reference) of mnist",
        ),
        (["eval", ".", "--reference", "imagenet"], "there are no data 'imagenet'"),
        (["scores", "nothing"], "nothing keeps no scores"),
    ],
)
def test_what_is_not_there_is_said(elsewhere, words, sentence):
    done = otgan(*words)
    assert done.exit_code == 2
    assert sentence in done.output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--features", "nothing"], "there are no features 'nothing'"),
        (["--features", "nothing.safetensors"], "nothing.safetensors does not exist"),
        (
            ["--features", "cifar10-resnet"],
            "cifar10-resnet reads 32 x 32 color images, not images of shape (28, 28, 1)",
        ),
        (["--fid", "--samples", "20"], "fid[mnist-lenet] needs"),
        (["--reference", "grid"], "--features mnist-lenet looks at images"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_kept(elsewhere, digit_run, words, sentence):
    done = otgan(
        "eval",
        digit_run,
        "--out",
        "judged",
        *(["--features", "mnist-lenet"] if "--reference" in words else []),
        *words,
    )
    assert done.exit_code == 2
    assert sentence in done.output
    assert not Path("judged").exists()


def test_an_empty_folder_is_refused(elsewhere):
    Path("empty").mkdir()
    done = otgan("eval", "empty", "--reference", "sample")
    assert done.exit_code == 2
    assert "empty holds no pictures" in done.output
