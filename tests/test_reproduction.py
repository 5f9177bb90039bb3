"""The claims of the papers: what shows them runs, and goes the way that the documentation says."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

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
