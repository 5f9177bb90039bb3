"""Time and peak memory of `otgan eval --all` on 10,000 images, with nothing cached and again with
the reference cached.

    python scripts/bench_eval.py mnist cifar10

The images are training images with noise of 8 levels, so that every measure has something to do.
Each evaluation is a process of its own; the memory is the most that it held resident.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import numpy as np

from otgan import data
from otgan.config import Images

COUNT = 10_000
NOISE = 8.0  # levels of 255


def main() -> None:
    """Measure, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="+", choices=["mnist", "cifar10"])
    parser.add_argument("--features", help="other than the network that was trained on the data")
    options = parser.parse_args()
    print("data       cache   seconds   peak memory, MB")
    for name in options.data:
        with tempfile.TemporaryDirectory() as folder:
            images = Path(folder) / "images.npz"
            np.savez(images, x=noisy(data.load(Images(kind=cast(Any, name))).train[:COUNT]))
            for cache in ("empty", "filled"):
                seconds, peak = evaluate(images, name, options.features, Path(folder) / "cache")
                print(f"{name:10} {cache:7} {seconds:7.1f}   {peak / 1e6:,.0f}", flush=True)


def noisy(images: np.ndarray) -> np.ndarray:
    """Images with Gaussian noise, as bytes."""
    noise = np.random.default_rng(0).normal(0, NOISE, images.shape)
    return np.rint((images + noise).clip(0, 255)).astype(np.uint8)


def evaluate(images: Path, name: str, features: str | None, cache: Path) -> tuple[float, float]:
    """Seconds and the most resident bytes of one evaluation."""
    command = [
        sys.executable,
        "-m",
        "otgan",
        "eval",
        str(images),
        "--reference",
        name,
        "--all",
        "--json",
        "--out",
        str(images.parent / "eval"),
    ]
    began = time.monotonic()
    process = subprocess.Popen(
        [*command, *(["--features", features] if features else [])],
        env={**os.environ, "OTGAN_CACHE": str(cache)},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit("the evaluation failed")
    return time.monotonic() - began, peak_bytes(usage)


def peak_bytes(usage: resource.struct_rusage) -> float:
    """Linux counts kilobytes, macOS bytes."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
