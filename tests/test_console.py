"""What a person reads of a run while it goes and at its end."""

import io

import pytest
from rich.console import Console

from otgan import experiments
from otgan.console import ProgressBar, summary_table
from otgan.dispatch import Progress
from otgan.report.page import render
from otgan.results.run import read_run
from tests.support.reports import run_folder

PHRASES = {  # what a family's epsilon is about
    "sinkhorn-grid": "solved duals",
    "convex-grid": "inner conjugate solves (not the map)",
    "semidiscrete-grid": "balances of mass (not the cost)",
    "neural-grid": "networks' duals",
    "wgan-gp-grid": "critics' slopes (not their value)",
    "drifting-grid": "fields (not the mass)",
}


def test_a_number_above_its_level_is_a_warning(tmp_path):
    sentence = "training points that got no mass carry 23.9% of the cost"
    for share, warned in ((0.239, True), (0.009, False)):
        summary = {"missed_value_share": share, "gap_kind": "residual", "gap_of": "balances"}
        assert (sentence in as_text(summary_table("x", summary))) == warned
        page = render(
            [
                read_run(
                    run_folder(
                        tmp_path / f"{warned}", name="semidiscrete-grid", summary=summary
                    ).path
                )
            ]
        )
        assert (sentence in page) == warned


@pytest.mark.parametrize(
    ("blurred", "warned"), [(0, False), (10, False), (11, True), (1_000, True)]
)
def test_an_epsilon_below_rounding_is_said_where_steps_have_one(blurred, warned):
    """Not where the window's largest floor is above its mean epsilon: that may be of one step with
    large costs, and a large epsilon.
    """
    said = io.StringIO()
    console = Console(file=said, width=300)
    bar = ProgressBar(experiments.resolve("sinkhorn-grid"), console, quiet=True)
    for _ in range(2):
        bar.advance(
            Progress(
                step=1_000, seconds=1.0, blurred=blurred, last={"dual_floor": 2e-3, "epsilon": 1e-3}
            )
        )
    sentence = f"epsilon 0.001 cannot be certified in {blurred:,} of 1,000 steps"
    assert said.getvalue().count(sentence) == warned
    assert ("cannot" in said.getvalue()) == warned


def as_text(printed):
    said = io.StringIO()
    Console(width=300, file=said).print(printed)
    return said.getvalue()


@pytest.mark.parametrize("name", PHRASES)
def test_a_share_within_epsilon_says_of_what(name, tmp_path):
    config, phrase = experiments.resolve(name), PHRASES[name]
    bar = ProgressBar(config, Console(force_terminal=False), quiet=True)
    assert f"  {phrase} within epsilon 75.0%" in bar._line(
        Progress(step=10, seconds=1.0, solved=4, converged=3)
    )
    summary = {"converged_share": 1.0, "gap_kind": "residual", "gap_of": config.oracle.REACHING}
    assert f"{phrase} that reached epsilon, by their residual gap" in as_text(
        summary_table(name, summary)
    )
    page = render([read_run(run_folder(tmp_path / "r", summary=summary).path)])
    assert f"All of its {phrase} reached epsilon".replace("'", "&#39;") in page.replace(
        "&#x27;", "&#39;"
    )
