"""Data that no recipe was tuned on, and what `points` and `pictures` make of them without a flag.

    python scripts/unseen_data.py make DIR            # the ten sets, from fixed seeds
    python scripts/unseen_data.py make DIR --tuning   # the seven that the rules were chosen on
    python scripts/unseen_data.py run DIR --out runs/unseen

The second kind are other distributions than the first, of other sizes and dimensions. `run` trains
on whatever lies in DIR, one after the other, and prints a row each: precision and recall beside
those of real examples, the share of duals within epsilon, and the seconds of training.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

import otgan
from otgan.results.quality import quality

Draw = np.random.Generator
SIZE = 8_000


def ring(draw: Draw) -> np.ndarray:
    """Eight Gaussians of sd 0.05 on the unit circle."""
    angles = 2 * np.pi * draw.integers(0, 8, SIZE) / 8
    return np.stack([np.cos(angles), np.sin(angles)], 1) + 0.05 * draw.normal(size=(SIZE, 2))


def spiral(draw: Draw) -> np.ndarray:
    """One arm of three turns."""
    turn = 6 * np.pi * np.sqrt(draw.uniform(0.02, 1, SIZE))
    arm = np.stack([turn * np.cos(turn), turn * np.sin(turn)], 1)
    return arm / 10 + 0.03 * draw.normal(size=(SIZE, 2))


def checkerboard(draw: Draw) -> np.ndarray:
    """The dark squares of a board of four by four."""
    corner = draw.integers(0, 4, (SIZE, 2))
    corner[:, 1] += (corner.sum(1) % 2) * np.where(corner[:, 1] < 3, 1, -1)
    return 100 * (corner + draw.uniform(size=(SIZE, 2)))


def moons(draw: Draw) -> np.ndarray:
    """Two half circles, one inside the other's bend."""
    angle, upper = np.pi * draw.uniform(size=SIZE), draw.integers(0, 2, SIZE)
    x = np.where(upper, np.cos(angle), 1 - np.cos(angle))
    y = np.where(upper, np.sin(angle), 0.5 - np.sin(angle))
    return np.stack([x, y], 1) + 0.08 * draw.normal(size=(SIZE, 2))


def mixture(draw: Draw, dim: int, modes: int, sd: float) -> np.ndarray:
    """Gaussians of one size and unequal shares at normal places."""
    places, shares = draw.normal(size=(modes, dim)), draw.dirichlet(5 * np.ones(modes))
    return places[draw.choice(modes, SIZE, p=shares)] + sd * draw.normal(size=(SIZE, dim))


def heavy(draw: Draw) -> np.ndarray:
    """Student's t with three degrees of freedom in three dimensions, correlated."""
    normal = draw.normal(size=(SIZE, 3)) @ np.array([[1, 0.8, 0], [0, 0.6, 0.5], [0, 0, 0.3]])
    return normal / np.sqrt(draw.chisquare(3, (SIZE, 1)) / 3)


def digits(draw: Draw) -> np.ndarray:
    """Digits of the fonts that matplotlib carries, turned and moved a little: (n, 28, 28)."""
    fonts = [f.fname for f in font_manager.fontManager.ttflist if f.name.startswith("DejaVu")]
    return np.stack([_digit(draw, fonts) for _ in range(4_000)])


def _digit(draw: Draw, fonts: list[str]) -> np.ndarray:
    font = ImageFont.truetype(fonts[draw.integers(len(fonts))], int(draw.integers(18, 26)))
    canvas = Image.new("L", (28, 28))
    place = tuple(14 + draw.normal(size=2))
    ImageDraw.Draw(canvas).text(place, str(draw.integers(10)), 255, font, anchor="mm")
    return np.asarray(canvas.rotate(8 * draw.normal(), Image.Resampling.BILINEAR))


def shapes(draw: Draw, count: int, side: Callable[[], int]) -> list[Image.Image]:
    """Discs, squares and triangles of all colors on light ground."""
    return [_shape(draw, side()) for _ in range(count)]


def _shape(draw: Draw, side: int) -> Image.Image:
    ground, color = draw.integers(200, 256, 3), draw.integers(0, 180, 3)
    big = Image.new("RGB", (4 * side, 4 * side), tuple(map(int, ground)))
    x, y = 4 * side * draw.uniform(0.35, 0.65, 2)
    r = 4 * side * draw.uniform(0.15, 0.3)
    pen, ink = ImageDraw.Draw(big), tuple(map(int, color))
    kind = draw.integers(3)
    if kind == 0:
        pen.ellipse((x - r, y - r, x + r, y + r), fill=ink)
    else:
        pen.regular_polygon((x, y, r), [4, 3][kind - 1], draw.uniform(0, 360), fill=ink)
    return big.resize((side, side), Image.Resampling.LANCZOS)


def make(folder: Path, tuning: bool) -> None:
    """Write the sets, each from a seed of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, points) in enumerate((TUNING if tuning else UNSEEN).items()):
        drawn = points(np.random.default_rng([2026, tuning, seed]))
        if isinstance(drawn, np.ndarray):
            kind = np.uint8 if drawn.ndim > 2 else np.float32
            np.savez(folder / f"{name}.npz", x=drawn.astype(kind))
        else:
            (folder / name).mkdir(exist_ok=True)
            for k, picture in enumerate(drawn):
                picture.save(folder / name / f"{k:05d}.png")


UNSEEN = {
    "ring": ring,
    "spiral": spiral,
    "checkerboard": checkerboard,
    "moons": moons,
    "mixture-10": lambda draw: mixture(draw, 10, 15, 0.15),
    "mixture-50": lambda draw: mixture(draw, 50, 8, 0.3),
    "heavy": heavy,
    "font-digits": digits,
    "shapes": lambda draw: shapes(draw, 3_000, lambda: int(draw.integers(24, 65))),
    "few": lambda draw: shapes(draw, 200, lambda: 32),
}


# --- those that the rules were chosen on ----------------------------------------------------------


def two_arms(draw: Draw) -> np.ndarray:
    """Two arms that turn around each other, with noise."""
    turn, side = 3 * np.pi * np.sqrt(draw.uniform(size=SIZE)), draw.choice([-1, 1], SIZE)
    arms = np.stack([side * turn * np.cos(turn), side * turn * np.sin(turn)], 1)
    return arms + 0.3 * draw.normal(size=(SIZE, 2))


def circles(draw: Draw) -> np.ndarray:
    """Four circles around one center."""
    radius, angle = draw.choice([1.0, 2.0, 3.0, 4.0], SIZE), draw.uniform(0, 2 * np.pi, SIZE)
    round_ = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    return round_ + 0.05 * draw.normal(size=(SIZE, 2))


def roll(draw: Draw) -> np.ndarray:
    """A rolled sheet in three dimensions."""
    turn = 1.5 * np.pi * (1 + 2 * draw.uniform(size=SIZE))
    sheet = np.stack([turn * np.cos(turn), 21 * draw.uniform(size=SIZE), turn * np.sin(turn)], 1)
    return sheet + 0.1 * draw.normal(size=(SIZE, 3))


def skewed(draw: Draw) -> np.ndarray:
    """Log-normal and correlated, in four dimensions."""
    return np.exp(0.4 * draw.normal(size=(SIZE, 4)) @ draw.normal(size=(4, 4)))


def factors(draw: Draw) -> np.ndarray:
    """Five clusters of six factors, seen in thirty coordinates with noise."""
    loads, places = draw.normal(size=(6, 30)), 3 * draw.normal(size=(5, 6))
    hidden = places[draw.integers(0, 5, SIZE)] + draw.normal(size=(SIZE, 6))
    return hidden @ loads + 0.3 * draw.normal(size=(SIZE, 30))


def figures(draw: Draw) -> list[Image.Image]:
    """Crosses and rings of light colors on dark ground."""
    return [_figure(draw, 32) for _ in range(2_000)]


def _figure(draw: Draw, side: int) -> Image.Image:
    ground, color = (tuple(map(int, draw.integers(*ends, 3))) for ends in ((0, 80), (100, 256)))
    big = Image.new("RGB", (4 * side, 4 * side), ground)
    x, y = 4 * side * draw.uniform(0.35, 0.65, 2)
    r, thick = 4 * side * draw.uniform(0.2, 0.35), int(4 * side * draw.uniform(0.06, 0.12))
    pen = ImageDraw.Draw(big)
    if draw.integers(2):
        pen.ellipse((x - r, y - r, x + r, y + r), outline=color, width=thick)
    else:
        pen.line((x - r, y, x + r, y), color, thick)
        pen.line((x, y - r, x, y + r), color, thick)
    return big.resize((side, side), Image.Resampling.LANCZOS)


TUNING = {
    "two-arms": two_arms,
    "circles": circles,
    "roll": roll,
    "skewed": skewed,
    "mixture-6": lambda draw: mixture(draw, 6, 12, 0.1),
    "factors-30": factors,
    "figures": figures,
}


# --- training -------------------------------------------------------------------------------------


def run(folder: Path, out: Path, only: list[str]) -> None:
    """Train on every set, and print a row each."""
    for path in sorted(folder.iterdir()):
        if only and path.stem not in only:
            continue
        images = path.is_dir() or np.load(path)["x"].ndim > 2
        trained = otgan.train(
            "pictures" if images else "points", data=str(path), out=out / path.stem
        )
        summary = trained.record.summary
        duals = f"{summary['converged_share']:.0%} of duals within epsilon"
        print(
            f"{path.stem:13}  {summary['seconds']:4.0f} s  {duals}  {quality(summary)}", flush=True
        )


def main() -> None:
    """Parse, and make or run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["make", "run"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tuning", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs/unseen"))
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    if options.what == "make":
        make(options.folder, options.tuning)
    else:
        run(options.folder, options.out, options.only)


if __name__ == "__main__":
    main()
