"""Commands as users type them."""

import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner
from PIL import Image

from otgan.cli import main

BRIEF = ["--steps", "6", "--batch-size", "32"]
BRIEF += ["--set", "generator.width=8", "--set", "train.pictures=1"]
TINY = [*BRIEF, "--quiet"]
SMALL = ["--set", "data.side=2", "--set", "data.size=2000"]  # 320 points to judge by


def otgan(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def otgan_alone(*words, **environment):
    """In a process of its own, as a user runs it."""
    command = [sys.executable, "-m", "otgan", *map(str, words)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, **environment},
    )


def picture_size(path):
    with Image.open(path) as picture:
        return picture.size


def run_folders():
    return sorted(Path("runs").iterdir()) if Path("runs").is_dir() else []
