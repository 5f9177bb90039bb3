"""Commands about features: an encoder for pictures that no network knows."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from otgan.cli.group import main
from otgan.cli.shared import PATH, terminal, with_data_dir
from otgan.cli.training import flags
from otgan.console import LINE_SECONDS, Spinner, clock
from otgan.learning import METHODS

if TYPE_CHECKING:
    from otgan.learning.training import TrainingProgress

STOPPED = 130
PREPARING = ("--resize", "--crop", "--channels")


@main.group()
def features() -> None:
    """Features for pictures that no network knows: train an encoder on them."""


@features.command("train")
@click.option(
    "--data",
    required=True,
    metavar="FOLDER|FILE|mnist|cifar10|sample",
    help="The pictures: at least 100, of one size, 8 x 8 or more.",
)
@flags(*PREPARING, default="pictures as they are")
@click.option(
    "-o",
    "--output",
    required=True,
    type=PATH,
    metavar="FILE.safetensors",
    help="Where to write the encoder; no such file yet.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    show_default="120, without --steps",
    help="Train so long at most, compilation left out.",
)
@click.option(
    "--steps",
    type=click.IntRange(1),
    metavar="N",
    show_default="as --seconds allow",
    help="Train so many steps at most.",
)
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="variance",
    help="What the encoder is asked to do; docs/features.md.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    metavar="N",
    default=0,
    help="Seed of everything random.",
)
@with_data_dir
def train(**options: Any) -> None:
    """Train a small encoder on pictures, without labels, in minutes.

    `otgan eval --features FILE.safetensors` then judges by it. Of your own pictures a tenth is held
    out from the training, the same that `otgan eval` compares with. Ctrl-C ends the training and
    keeps what was learned so far; a second one keeps nothing.
    """
    from otgan.learning.command import Order, learn

    with Spinner(terminal(), quiet=False) as steps:
        given = {flag[2:]: options.pop(flag[2:]) for flag in PREPARING}
        preparation = {key: value for key, value in given.items() if value is not None}
        found = learn(Order(**options, preparation=preparation), Line(steps), steps)
    progress, output = found.progress, options["output"]
    for note in found.notes:
        click.echo(note)
    if found.digest is None:
        click.echo("stopped before the first step: nothing was written", err=True)
        sys.exit(STOPPED)
    click.echo(
        f"encoder   {output}, {found.digest[:12]}, {progress.step:,} steps in"
        f" {clock(progress.seconds)}, loss {progress.loss:.4g}"
    )
    click.echo(f"features  otgan eval RUN --features {output}")
    if found.stopped:
        click.echo(f"stopped: {output} holds what was trained so far, and can be used", err=True)
        sys.exit(STOPPED)


class Line:
    """What a training is at: a live line on a terminal, elsewhere one now and then."""

    def __init__(self, steps: Spinner):
        self._steps, self._printed = steps, time.monotonic()

    def __call__(self, progress: TrainingProgress) -> None:
        """Show it."""
        left = progress.seconds * (1 - progress.share) / progress.share if progress.share else 0.0
        pace = f"{progress.step / max(progress.seconds, 1e-9):.1f} steps/s"
        text = f"step {progress.step:,}  loss {progress.loss:.4g}  {pace}  {clock(left)} left"
        self._steps(text)
        if not sys.stdout.isatty() and time.monotonic() - self._printed > LINE_SECONDS:
            self._printed = time.monotonic()
            click.echo(text)
