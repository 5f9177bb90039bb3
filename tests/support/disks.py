"""Small disks, which others fill."""

import itertools
import os
import shutil
import subprocess
from contextlib import contextmanager, suppress

import pytest

SMALL_DISK = "size=4m"


@contextmanager
def mounted(place, *options):
    """Mount something at a place, which is made; skip where this user may not."""
    place.mkdir()
    if (
        not shutil.which("mount")
        or subprocess.run(
            ["mount", *map(str, options), place], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("this user may mount no file systems")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=False)


def disk(place, size=SMALL_DISK):
    """A disk of so many bytes, or files."""
    return mounted(place, "-t", "tmpfs", "-o", size, "tmpfs")


def fill(disk):
    """Take all the room that is left. Returns the file that has it."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    assert not shutil.disk_usage(disk).free
    return ballast


def fill_with_files(disk):
    """Take all inodes that are left. Returns the folder of the files that have them."""
    ballast = disk / "files"
    with suppress(OSError):
        ballast.mkdir(exist_ok=True)
        for number in itertools.count(len([*ballast.iterdir()])):
            (ballast / str(number)).touch()
    assert not os.statvfs(disk).f_ffree
    assert shutil.disk_usage(disk).free
    return ballast
