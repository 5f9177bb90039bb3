"""Preparing MNIST and CIFAR-10 by TFDS's own builders: the one thing that needs TensorFlow and,
without an archive, the network.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from otgan import places
from otgan.errors import UserError

TIMEOUT = 5.0
"""Seconds that a host has to answer before the network counts as dead: TFDS itself would try for
minutes.
"""


def prepare(name: str, data_dir: Path | None = None, archive: Path | None = None) -> Path:
    """Make a data set readable, once.

    Args:
        name: `mnist` or `cifar10`.
        data_dir: the TFDS folder; by default `TFDS_DATA_DIR`, else `~/tensorflow_datasets`.
        archive: what was downloaded by hand, so that no network is needed:
            `cifar-10-binary.tar.gz`, or the folder with MNIST's four `.gz` files, unchanged.

    Returns:
        The prepared folder, such as `.../mnist/3.0.1`. If it was there already, nothing is done.

    Raises:
        UserError: the name is unknown, the archive is not the registered one, TensorFlow or the
            network is missing, or TFDS failed.
    """
    places.check_name(name)
    if found := places.find(name, data_dir):
        return found
    registered = registry(name)
    files = _matching(registered, archive) if archive else {}
    _require_tensorflow(name)
    if not archive:
        _require_network(name, list(registered))
    home = places.folder(data_dir)
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home, prefix=f".{name}-") as work:
            _build(name, home, Path(work), files)
    # TFDS fails in many ways: a full disk, a broken connection, a changed file
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"TFDS could not prepare {name} in {home} ({reason[:300]}): mend that and run it again"
        ) from error
    return places.require(name, data_dir)


def registry(name: str) -> dict[str, Any]:
    """What TFDS has registered for a data set: by URL, the `filename`, `size` in bytes and SHA-256
    `checksum`.
    """
    import tensorflow_datasets as tfds

    # a copy: TFDS keeps the original for itself
    return {**(tfds.builder_cls(name).url_infos or {})}


def _matching(registered: dict[str, Any], archive: Path) -> dict[str, Path]:
    """The user's files by the names that TFDS looks for, each checked against the registry."""
    if not archive.exists():
        raise UserError(
            f"{archive} does not exist: give the downloaded file, or the folder that holds it"
        )
    infos = list(registered.values())
    if archive.is_dir():
        files = {info.filename: archive / info.filename for info in infos}
    elif len(infos) == 1:
        files = {infos[0].filename: archive}  # whatever the browser called it
    else:
        raise UserError(
            f"{archive} is one file, but {len(infos)} are needed: give the folder that holds"
            f" {_names(infos)}"
        )
    if missing := [file.name for file in files.values() if not file.is_file()]:
        raise UserError(
            f"{archive} lacks {', '.join(missing)}: download it from {_base(registered)} unchanged"
        )
    for info in infos:
        _check(files[info.filename], info)
    return files


def _names(infos: list[Any]) -> str:
    return ", ".join(info.filename for info in infos)


def _base(registered: dict[str, Any]) -> str:
    return next(iter(registered)).rpartition("/")[0]


def _check(file: Path, info: Any) -> None:
    size = file.stat().st_size
    if size != info.size:
        raise UserError(
            f"{file} has {size:,} bytes, but TFDS expects {int(info.size):,}: download it again,"
            " unchanged"
        )
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != info.checksum:
        raise UserError(
            f"{file} has SHA-256 {found}, but TFDS expects {info.checksum}: download it again,"
            " unchanged"
        )


def _require_tensorflow(name: str) -> None:
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            f"preparing {name} needs TensorFlow, reading it later does not: run `pip install"
            " 'otgan[tfds]'` and try again"
        )


def _require_network(name: str, urls: list[str]) -> None:
    """Ask every host once, through whatever proxy the environment names, so that a dead network
    shows within seconds.
    """
    import requests  # TFDS downloads with it

    for url in {urlsplit(url).netloc: url for url in urls}.values():
        try:
            requests.head(url, timeout=TIMEOUT, allow_redirects=True).raise_for_status()
        except requests.RequestException as error:
            raise UserError(
                f"{urlsplit(url).netloc} does not answer ({type(error).__name__}), so {name} cannot"
                f" be downloaded: check the network, or download {' '.join(urls)} elsewhere and"
                " pass it with `--from`"
            ) from error


def _build(name: str, home: Path, work: Path, files: dict[str, Path]) -> None:
    """Let TFDS make the folder; it takes a file that lies in its manual folder under the registered
    name instead of downloading it.
    """
    import tensorflow_datasets as tfds

    for filename, file in files.items():
        (work / filename).symlink_to(file.resolve())
    settings = (
        tfds.download.DownloadConfig(manual_dir=str(work))
        if files
        else tfds.download.DownloadConfig()
    )
    builder = tfds.builder(name, data_dir=str(home), file_format="array_record")
    # TFDS prints; what a command prints is the command's to say
    with contextlib.redirect_stdout(sys.stderr):
        builder.download_and_prepare(download_dir=str(work / "downloads"), download_config=settings)
