"""Files of experiments of the user's own."""

from pathlib import Path
from typing import Any

import pytest

from otgan import experiments
from tests.support.commands import otgan, run_folders

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.mark.parametrize(
    "text",
    ["steps = ", "\x00\x01", '[train]\nsteps = "x"\n[train]\n', "extends = 'nothing-like-it'\n"],
)
def test_an_unreadable_toml_is_refused(text):
    Path("mine.toml").write_text(text)
    done = otgan("run", "mine.toml")
    assert done.exit_code == 2
    assert (
        "cannot read mine.toml" in done.output
        or "no experiment called 'nothing-like-it'" in done.output
    )
    assert not run_folders()


def test_extends_in_a_circle_is_refused():
    Path("a.toml").write_text("extends = 'b.toml'\n")
    Path("b.toml").write_text("extends = 'a.toml'\n")
    done = otgan("run", "a.toml")
    assert done.exit_code == 2
    assert "comes back to a.toml" in done.output


def test_a_file_of_ones_own_extends_a_named_experiment():
    Path("mine.toml").write_text(
        "extends = 'sinkhorn-grid'\n[oracle]\nlam = '0.5x'\n[data]\nkind ="
        " 'mnist'\n[generator]\nkind = 'conv'\n"
    )
    config: Any = experiments.resolve("mine.toml")
    assert config.name == "mine"
    assert config.oracle.lam.relative
    assert config.data.kind == "mnist"
