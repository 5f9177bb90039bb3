"""Weights that somebody published: found in the cache, else downloaded once, or imported from a
file that somebody has.

What is kept are the parameters of one of otgan's networks, as safetensors, with the SHA-256 of the
file that they come from; that file itself is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from otgan.errors import UserError
from otgan.files import LOCK, lock
from otgan.weights import torch_file
from otgan.weights.download import ShowDownload, download
from otgan.weights.store import Weights, flat, read, sha256, write

SOURCE = "source_sha256"  # among the facts: the hash of the file that was imported


@dataclass(frozen=True)
class Published:
    """A network's weights as they are published.

    Attributes:
        network: its name in otgan.
        title: its name in sentences.
        file: the published file's name.
        address: where it is fetched from.
        digest: its SHA-256.
        kept: the converted file's name in the cache.
        convert: the file's arrays by name -> the network's parameters; it refuses arrays that do
            not fit.
    """

    network: str
    title: str
    file: str
    address: str
    digest: str
    kept: str
    convert: Callable[[Mapping[str, np.ndarray]], dict[str, Any]]

    @property
    def by_hand(self) -> str:
        """What to do with a file that was brought by other means."""
        return (
            "give it with `otgan weights import"
            f" FILE{'' if self.network == 'inception' else f' --network {self.network}'}`"
        )


def find(
    published: Published,
    cache: Path,
    *,
    download: bool = True,
    show: ShowDownload | None = None,
    address: str | None = None,
    digest: str | None = None,
) -> Weights:
    """The weights in the cache, downloaded if they are not there yet.

    Args:
        published: which.
        cache: a folder; made if need be.
        download: whether a download is allowed.
        show: called with (bytes so far, bytes in all) as they come.
        address: of the published file, where it is not the usual one.
        digest: its SHA-256, likewise.

    Raises:
        UserError: they are not there and cannot be had. Nothing is cached then but the part that
            has come, for the next call to go on from.
    """
    with suppress(UserError):  # an unusable cache is no reason to stop
        return read(cache / published.kept)
    if not download:
        raise UserError(
            f"the weights of {published.title} are not in {cache}: get {published.address} and"
            f" {published.by_hand}"
        )
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with lock(cache / LOCK):
            return _fetch(
                published, cache, show, address or published.address, digest or published.digest
            )
    except OSError as error:
        raise _unavailable(published, error) from error


def _fetch(
    published: Published, cache: Path, show: ShowDownload | None, address: str, digest: str
) -> Weights:
    out = cache / published.kept
    with suppress(UserError):
        return read(out)  # another process has brought them meanwhile
    try:
        fetched = download(address, cache / published.file, digest, show)
    except UserError as error:
        raise _unavailable(published, error) from error
    try:
        return import_file(published, fetched, out, digest=digest)
    finally:
        fetched.unlink()


def _unavailable(published: Published, error: Exception) -> UserError:
    other = f"get {published.file} by other means and {published.by_hand}"
    return UserError(f"the weights of {published.title} cannot be downloaded ({error}): {other}")


def import_file(published: Published, path: Path, out: Path, *, digest: str | None) -> Weights:
    """Convert a file of the network's weights, and keep the result.

    Args:
        published: which network's.
        path: the file, under whatever name: safetensors if it ends so, else a state dict of
            PyTorch.
        out: the safetensors file to write.
        digest: the SHA-256 that it must have; None takes any file of the network's weights, whose
            scores then carry its hash.

    Raises:
        UserError: the file is not there, is another one, or does not hold the network's weights; or
            the result cannot be kept.
    """
    try:
        found = sha256(path)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): give the file {published.file}"
        ) from error
    if digest is not None and found != digest:
        raise UserError(
            f"{path} is not the published {published.file}, or is damaged: its SHA-256 begins with"
            f" {found[:8]}, not {digest[:8]}"
        )
    state = (
        dict(flat(read(path).parameters))
        if path.suffix == ".safetensors"
        else torch_file.read(path)
    )
    parameters = published.convert(state)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write(out, parameters, {"network": published.network, SOURCE: found})
    except (OSError, SafetensorError) as error:
        raise UserError(f"{out} cannot be written ({error}): choose another place") from error
    return read(out)
