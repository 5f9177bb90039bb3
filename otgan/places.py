"""Where data lie, and whether they are there: what can be said of them before anything that reads
them is imported. No NumPy.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from otgan.config import Config, Images, Stacked, UserData
from otgan.errors import UserError

TITLES = {"mnist": "MNIST", "cifar10": "CIFAR-10"}
"""The data sets that TFDS prepares for us, by its names for them."""

VERSION = re.compile(r"\d+\.\d+\.\d+")

KINDS = (
    "an .npz, .npy, .csv, .tsv or .parquet file, a folder of pictures, or one that"
    " Dataset.save_to_disk wrote"
)


def require_all(config: Config, data_dir: Path | None = None) -> None:
    """Refuse a config whose data, or whose source's or truth's, are not there; another package's
    data speak for themselves when they are loaded.

    Args:
        config: a run's.
        data_dir: see `folder`.

    Raises:
        UserError: naming the place that was looked at, and what to do.
    """
    for part in (config.data, config.source):
        match part:
            case Images(source="tfds"):
                require(part.kind, data_dir)
            case Stacked(source="tfds"):
                require("mnist", data_dir)
            case UserData():
                require_own(part)
    if config.truth is not None:
        require_truth(config.truth)


def require_own(data: UserData) -> Path:
    """The file or folder of the user's data.

    Raises:
        UserError: it does not exist.
    """
    path = Path(data.path).expanduser()
    if not path.exists():
        raise UserError(f"{path} does not exist: give {KINDS}")
    return path


def require_truth(path: str) -> Path:
    """The file of a map's true images.

    Raises:
        UserError: it does not exist.
    """
    if not Path(path).is_file():
        raise UserError(
            f"truth: there is no file {path}: give an .npz with the arrays x, points of the source,"
            " and y, their true images"
        )
    return Path(path)


# --- prepared by TFDS -----------------------------------------------------------------------------


def check_name(name: str) -> None:
    """Refuse a name that TFDS does not prepare for us.

    Raises:
        UserError: it is none of them.
    """
    if name not in TITLES:
        raise UserError(f"there is nothing to prepare for {name!r}: choose {' or '.join(TITLES)}")


def folder(data_dir: Path | None = None) -> Path:
    """The TFDS folder: the one given, else `TFDS_DATA_DIR`, else `~/tensorflow_datasets`."""
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def find(name: str, data_dir: Path | None = None) -> Path | None:
    """The newest prepared version of a data set (a folder such as `mnist/3.0.1`), or None."""
    home = folder(data_dir) / name
    with suppress(OSError):
        complete = [
            path
            for path in home.iterdir()
            if VERSION.fullmatch(path.name) and (path / "dataset_info.json").is_file()
        ]
        return max(
            complete, key=lambda path: [int(part) for part in path.name.split(".")], default=None
        )
    return None


def require(name: str, data_dir: Path | None = None) -> Path:
    """The folder of a prepared data set.

    Raises:
        UserError: it is not prepared, and the sentence names the command that prepares it; or it is
            nothing that TFDS prepares for us.
    """
    check_name(name)
    if found := find(name, data_dir):
        return found
    instead = (
        ", or use the digits that otgan carries with `--data sample`" if name == "mnist" else ""
    )
    raise UserError(
        f"{TITLES[name]} is not prepared in {folder(data_dir)}: run `otgan data prepare {name}`"
        f" once, or point TFDS_DATA_DIR at a folder that holds it{instead}"
    )
