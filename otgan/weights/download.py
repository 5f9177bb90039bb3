"""Fetch one file over HTTP: resumed where it was interrupted, checked by its hash, and there whole
or not at all.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from otgan.errors import UserError
from otgan.weights.store import sha256

TIMEOUT = 20.0  # seconds that a server may stay silent
CHUNK = 1 << 18  # bytes

ShowDownload = Callable[[int, int], None]
"""Called with (bytes so far, bytes in all; 0 if the server does not say)."""


def download(address: str, target: Path, digest: str, show: ShowDownload | None = None) -> Path:
    """Fetch a file.

    What has come of it waits in `target` + ".part", and the next call goes on from there.

    Args:
        address: an HTTP or HTTPS address.
        target: where to put it; its folder must be there.
        digest: the SHA-256 that it must have, in hexadecimal.
        show: see `ShowDownload`.

    Returns:
        `target`.

    Raises:
        UserError: it cannot be had, or is not the file that was asked for; there is no `target`
            then.
    """
    part = target.with_name(target.name + ".part")
    try:
        _receive(address, part, show)
    except urllib.error.HTTPError as error:
        error.close()
        raise UserError(f"{address} answers {error.code} {error.reason}") from None
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        TimeoutError,
        ConnectionError,
    ) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise UserError(f"no connection to {address}, {reason}") from None
    if (found := sha256(part)) != digest:
        part.unlink()
        raise UserError(
            f"what {address} sent is not the file expected: its SHA-256 begins with {found[:8]},"
            f" not {digest[:8]}"
        )
    return part.replace(target)


def _receive(address: str, part: Path, show: ShowDownload | None) -> None:
    """Add to the part what it lacks.

    Raises:
        UserError: the connection ended before the file did.
    """
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if start and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            error.close()
            return  # the part has the file's length already; its hash will tell
        raise
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        done = start if resumed else 0
        total = done + int(response.headers.get("Content-Length") or 0)
        with part.open("ab" if resumed else "wb") as file:
            while chunk := response.read(CHUNK):
                done += file.write(chunk)
                if show:
                    show(done, total)
    if done < total:
        raise UserError(
            f"the connection to {address} ended at {done} of {total} bytes; the next try goes on"
            " from there"
        )
