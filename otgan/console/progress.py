"""How far a command is: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from otgan.budgets import share_used
from otgan.config import Config

if TYPE_CHECKING:
    from otgan.dispatch import Progress

LINE_SECONDS = 10.0  # between two plain lines
BLURRED = 0.01  # share of steps that no dual could be certified in, from which on it is said


class ProgressBar:
    """Shows a run's progress; a `otgan.loop.Show`."""

    def __init__(self, config: Config, console: Console, quiet: bool):
        self._config, self._console, self._quiet = config, console, quiet
        self._live = console.is_terminal and not quiet
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[line]}"),
        )
        self._bar = Bar(*columns, console=console, disable=not self._live)
        self._task = self._bar.add_task(config.name, total=1.0, line="compiling")
        self._printed = time.monotonic()
        self._warned = False

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        """Say what takes a while."""
        if not self._quiet:
            self._console.print(text, highlight=False, soft_wrap=True)

    def begin(self, progress: Progress, resumed: bool) -> None:
        """Say where it starts."""
        if not self._quiet:
            self._console.print(
                f"resuming after step {progress.step:,}" if resumed else "compiled; training",
                highlight=False,
            )
        self._bar.update(self._task, line="")

    def advance(self, progress: Progress) -> None:
        """Move the bar, or print a line now and then."""
        self._warn(progress)
        if not self._quiet and not self._live and time.monotonic() - self._printed > LINE_SECONDS:
            self._printed = time.monotonic()
            self._console.print(self._line(progress), highlight=False, soft_wrap=True)
        self._bar.update(
            self._task, completed=_share(self._config, progress), line=self._line(progress)
        )

    def _warn(self, progress: Progress) -> None:
        """Say once where duals cannot be certified to the epsilon asked for: step by step, for the
        window has the largest floor alone.
        """
        if progress.blurred > BLURRED * progress.step and not self._warned:
            self._warned = True
            most, epsilon = progress.last["dual_floor"], progress.last["epsilon"]
            said = (
                f"epsilon {epsilon:.2g} cannot be certified in {progress.blurred:,} of"
                f" {progress.step:,} steps"
            )
            why = (
                f"there rounding alone makes a larger gap, lately of up to {most:.2g}. Give a"
                " larger --epsilon or --lam"
            )
            self._console.print(f"{said}: {why}", highlight=False, soft_wrap=True, style="yellow")

    def _line(self, progress: Progress) -> str:
        share = _share(self._config, progress)
        left = progress.seconds * (1 - share) / share if share else 0.0
        shown = {"loss": "loss", "gap": "dual_gap"}
        seen = "  ".join(
            f"{word} {progress.last[name]:.4g}"
            for word, name in shown.items()
            if name in progress.last
        )
        pace = f"{progress.steps_per_second:.1f}/s  {clock(left)} left"
        reached = f"{self._config.oracle.REACHING} within epsilon {progress.converged_share:.1%}"
        words = [f"step {progress.step:,}/{self._config.train.steps:,}", pace, seen, reached]
        return "  ".join([*words, *_held_out(progress)])


def _held_out(progress: Progress) -> list[str]:
    """The newest scores beside those of real examples: a loss alone does not show whether training
    comes closer.
    """
    shown = [metric for metric in progress.scores if metric in progress.floors]
    chosen = [m for m in shown if m.partition("[")[0] in ("recall", "fid")] or shown
    return [
        f"{metric} {progress.scores[metric]:.3g} (real {progress.floors[metric]:.3g})"
        for metric in chosen[:2]
    ]


def _share(config: Config, progress: Progress) -> float:
    return min(1.0, share_used(config.train, progress.used))


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Spinner:
    """Shows what a long command is at, on a terminal; nothing elsewhere."""

    def __init__(self, console: Console, quiet: bool):
        self._status = None if quiet or not console.is_terminal else console.status("")

    def __enter__(self) -> Spinner:
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def __call__(self, text: str) -> None:
        """Say what is done now."""
        if self._status:
            self._status.update(text)
