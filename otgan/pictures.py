"""Samples as PNG files: a sheet of images, or a scatter of points over the true modes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image

GAP = 2  # pixels between the images of a sheet
SMALLEST = 480  # pixels of a sheet's side: small images are enlarged by whole factors


def save_sheet(images: np.ndarray, path: Path) -> None:
    """Draw images, (n, h, w, c) bytes, as a sheet as square as possible, row by row."""
    n, h, w, c = images.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = np.full((rows * (h + GAP) + GAP, columns * (w + GAP) + GAP, c), 128, np.uint8)
    for i, image in enumerate(images):
        top, left = GAP + (i // columns) * (h + GAP), GAP + (i % columns) * (w + GAP)
        sheet[top : top + h, left : left + w] = image
    picture = Image.fromarray(sheet[..., 0] if c == 1 else sheet)
    factor = max(1, math.ceil(SMALLEST / max(picture.size)))
    picture.resize(
        (picture.width * factor, picture.height * factor), Image.Resampling.NEAREST
    ).save(path)


def save_scatter(
    points: np.ndarray,
    reference: np.ndarray,
    path: Path,
    centers: np.ndarray | None = None,
    radius: float = 0.0,
    label: str = "generated",
) -> None:
    """Draw points, (n, d), over a reference in the plane of the first two coordinates; true modes
    as circles of a radius.
    """
    from matplotlib.figure import Figure  # no pyplot: no global state, no display
    from matplotlib.patches import Circle

    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.add_subplot()
    two = [np.column_stack([p, np.zeros(len(p))])[:, :2] for p in (points, reference)]
    axes.scatter(*two[1].T, s=4, color="0.75", label="held-out data", linewidths=0)
    axes.scatter(*two[0].T, s=4, color="tab:blue", label=label, linewidths=0)
    for center in [] if centers is None else centers:
        axes.add_patch(
            Circle(tuple(center[:2]), radius, fill=False, color="tab:red", linewidth=0.8)
        )
    shown = two[1] if len(reference) else two[0]
    low, high = shown.min(axis=0), shown.max(axis=0)
    margin = 0.15 * (high - low) + 1e-6
    axes.set(
        xlim=(low[0] - margin[0], high[0] + margin[0]),
        ylim=(low[1] - margin[1], high[1] + margin[1]),
        aspect="equal",
    )
    axes.legend(loc="upper right", fontsize=8, markerscale=2)
    figure.savefig(path, dpi=100)
