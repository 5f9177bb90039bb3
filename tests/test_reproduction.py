"""The claims of the papers: what shows them runs, and goes the way that the documentation says."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from otgan import experiments
from otgan.measured import values_of
from scripts import measure_recipe

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "reproduce.py"
CLAIMS = tomllib.loads((ROOT / "scripts" / "claims.toml").read_text())
PAGE = (ROOT / "docs" / "reproduction.md").read_text()


def reproduce(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("claim", CLAIMS)
def test_the_short_version_goes_the_way_that_the_page_says(claim, tmp_path):
    done = reproduce(claim, "--short", "--out", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ": as docs/reproduction.md says (" in done.stdout.splitlines()[-1]
    # all is done, so that it is only read again
    again = reproduce(claim, "--short", "--out", tmp_path)
    assert len(again.stdout.splitlines()) == 2
    assert re.sub(r"\(\d+ s\)", "", again.stdout.splitlines()[-1]) in re.sub(
        r"\(\d+ s\)", "", done.stdout
    )


def test_the_page_has_every_claim_with_its_command_and_a_verdict():
    sections = dict(re.findall(r"^## (C\d): .*\n((?:(?!^## ).*\n)*)", PAGE, re.MULTILINE))
    assert [*sections] == [*CLAIMS]
    for claim, text in sections.items():
        assert f"make reproduce CLAIM={claim}" in text
        assert re.search(r"^\*\*Verdict: ", text, re.MULTILINE), claim


def test_an_unknown_claim_lists_those_that_there_are():
    done = reproduce("C12")
    assert done.returncode == 2
    assert done.stderr.startswith("there is no claim C12; there are\n  C1  ")
    assert len(done.stderr.splitlines()) == 1 + len(CLAIMS)


def test_missing_data_say_which_claims_do_without(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    done = reproduce("C5", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "C2, C7, C8 need no data set, and with --short no claim does" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_what_a_recipe_gave_is_read_from_a_sweep_of_its_seeds(tmp_path, monkeypatch):
    monkeypatch.setenv("OTGAN_CACHE", str(tmp_path / "cache"))
    config = experiments.resolve("sinkhorn-grid", {"train.steps": 20})
    words = ["sweep", "sinkhorn-grid", "--steps", "20", "--seeds", "2", "--jobs", "1"]
    folder = tmp_path / "sweep"
    subprocess.run(
        [sys.executable, "-m", "otgan", *words, "--out", str(folder)],
        check=True,
        capture_output=True,
    )
    found = measure_recipe.measured(config, folder, "0123456789", 1)
    assert (found.seeds, found.steps) == ((0, 1), (20, 20))
    assert re.fullmatch(r"\d+ CPU cores?", found.where)
    numbers = {number.name: number for number in found.numbers}
    assert {"w2 / w2_floor", "modes", "recall", "converged_share", "seconds"} <= numbers.keys()
    recall = numbers["recall"]
    assert 0 < recall.mean < recall.floor < 1
    assert found.then(config) == values_of(config)
    assert f"recall {recall.mean:.3g} ± " in found.sentence(config)


def test_a_recipe_s_devices_are_named():
    assert measure_recipe.where(["NVIDIA H100"] * 2, 1) == "2 NVIDIA H100"
    assert measure_recipe.where(["cpu"], 3).endswith(", 3 runs at once")


def test_code_that_was_changed_since_its_commit_is_marked(tmp_path, monkeypatch):
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", "-C", str(tmp_path)]
    for folder in ("otgan", "scripts", "docs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a").write_text("a")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "a"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(measure_recipe, "HERE", tmp_path / "scripts")
    head = measure_recipe.commit()
    assert re.fullmatch("[0-9a-f]{40}", head)
    (tmp_path / "docs" / "a").write_text("b")
    assert measure_recipe.commit() == head
    (tmp_path / "otgan" / "a").write_text("b")
    assert measure_recipe.commit() == f"{head}+"


def test_recipes_that_wait_for_somebody_s_data_have_no_numbers():
    assert not {"points", "pictures"} & {*measure_recipe.recipes()}
    assert "feature-mnist" in measure_recipe.recipes()
