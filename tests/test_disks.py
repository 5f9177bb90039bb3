"""What disks do to a run: full of bytes, full of files, read-only, taken away."""

import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from otgan.checkpoints import UNCOMMITTED, Checkpoints
from otgan.errors import UserError
from otgan.files import write_atomically
from otgan.runs import RunFolder
from tests.support.begun import errors_at_the_end, kept, status
from tests.support.commands import SMALL, TINY, otgan, otgan_alone
from tests.support.disks import disk, fill, fill_with_files, mounted
from tests.support.helpers import Silent, run, tiny_config

pytestmark = pytest.mark.slow

LONG = [
    "run",
    "sinkhorn-grid",
    *SMALL,
    "--batch-size",
    32,
    "--steps",
    10**6,
    "--quiet",
    "--set",
    "train.checkpoint_seconds=1",
]
# a step takes 2 bytes of records instead of 100: no machine fills a disk of 4 MB with them
FEW_LINES = ["--set", "train.log_every=500"]
SMALL_STATE, LARGE_STATE = (["--set", f"generator.width={width}"] for width in (8, 128))


@pytest.fixture(name="disk")
def _disk(tmp_path):
    """A disk of 4 MB."""
    with disk(tmp_path / "disk") as place:
        yield place


def one_sentence(done, path):
    """A command's one line on standard error that says what to do, and its exit code."""
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(
        rf"Error: cannot write to {path} \([\w ,-]+\); make room .*: otgan run .*{path}.*\n",
        done.stderr,
    )


def test_a_disk_that_checkpoints_fill_ends_a_run_with_a_sentence(disk):
    done = otgan_alone(*LONG, *LARGE_STATE, "--set", "train.pictures=20000", "--out", disk / "run")
    one_sentence(done, disk / "run")
    ended = status(disk / "run")
    assert ended["state"] == "interrupted"
    assert "No space left on device" in ended["reason"]
    assert kept(disk / "run")
    assert not [one for one in (disk / "run/checkpoints").iterdir() if UNCOMMITTED in one.name]


@contextmanager
def at_work(path, *words):
    """A run at work that has a checkpoint."""
    command = [sys.executable, "-m", "otgan", *map(str, [*LONG, *words]), "--out", str(path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while not kept(path):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        yield process


def ended(process):
    """A run that ends by itself, as a command that is done."""
    errors = errors_at_the_end(process, 120)
    return subprocess.CompletedProcess(process.args, process.returncode, "", errors)


def goes_on(path, before):
    """See that a run goes on from the checkpoint that it had."""
    again = otgan("run", path, "--quiet", "--generator-steps", before[-1] + 1_000)
    assert again.exit_code == 0, again.output
    assert status(path)["state"] == "finished"
    assert kept(path)[-1] == before[-1] + 1_000


def test_a_disk_that_others_fill_ends_a_run_and_it_goes_on_when_there_is_room(disk):
    path = disk / "run"
    with at_work(path, *SMALL_STATE, *FEW_LINES) as process:
        ballast = fill(disk)
        one_sentence(ended(process), path)
    assert status(path)["state"] == "interrupted"
    before = kept(path)
    assert before
    fill(disk)  # what the end of the process has given back
    one_sentence(otgan_alone("run", path, "--quiet"), path)  # there is no room for going on either
    assert status(path)["state"] == "interrupted"
    assert kept(path) == before
    ballast.unlink()
    goes_on(path, before)


def test_a_disk_without_inodes_ends_a_run_which_says_so_and_goes_on_when_there_are_some(tmp_path):
    with disk(tmp_path / "disk", "size=64m,nr_inodes=400") as place:
        path = place / "run"
        with at_work(path, *SMALL_STATE, *FEW_LINES) as process:
            ballast = fill_with_files(place)
            done = ended(process)
        one_sentence(done, path)
        assert "(No space left on device, no inode for another file)" in done.stderr
        assert status(path)["state"] == "interrupted"
        assert "no inode for another file" in status(path)["reason"]
        before = kept(path)
        assert before
        fill_with_files(place)
        done = otgan_alone("run", path, "--quiet")
        one_sentence(done, path)
        assert "(No space left on device, no inode for another file)" in done.stderr
        refused = otgan("run", "sinkhorn-grid", *SMALL, *TINY, "--out", place / "other")
        assert refused.exit_code == 2
        assert f"cannot write to {place / 'other'} (No space left on device, no" in refused.output
        assert kept(path) == before
        shutil.rmtree(ballast)
        goes_on(path, before)


def test_a_disk_that_is_taken_away_ends_a_run_which_goes_on_when_it_is_back(disk, tmp_path):
    place = tmp_path / "used"
    path = place / "run"
    with mounted(place, "--bind", disk):
        with at_work(path, *SMALL_STATE, *FEW_LINES) as process:
            subprocess.run(["umount", "--lazy", place], check=True)
            done = ended(process)
        one_sentence(done, path)
        assert "(No such file or directory)" in done.stderr
        assert not [*place.iterdir()]  # nothing is begun anew in what the disk had hidden
        before = kept(disk / "run")
        subprocess.run(["mount", "--bind", disk, place], check=True)
        assert before
        goes_on(path, before)


def test_a_disk_that_is_full_ends_a_cell_with_a_sentence_and_the_sweep_goes_on_later(disk):
    words = [*LONG[1:], *SMALL_STATE, *FEW_LINES, "--steps", 40_000, "--lam", "0.05"]
    words = ["sweep", *(word for word in words if word != "--quiet"), "--out", disk / "s"]
    with subprocess.Popen(
        [sys.executable, "-m", "otgan", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        while not any(map(kept, disk.glob("s/cells/*"))):
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.1)
        ballast = fill(disk)
        output, _ = process.communicate(timeout=120)
    (cell,) = disk.glob("s/cells/*")
    assert process.returncode == 1, output
    assert "Traceback" not in output
    assert re.search(r"1/1 .* failed: .*cannot write to .* \(No space left on device\)", output)
    assert "not all finished: 1 of 1 cells are left (1 interrupted); go on with: otgan" in output
    before = kept(cell)
    assert before
    assert "No space left on device" in status(cell)["reason"]
    fill(disk)
    done = otgan_alone(*words)
    assert done.returncode == 2, done
    assert done.stderr.startswith(f"Error: cannot write to {disk / 's'} (No space left on device)")
    ballast.unlink()
    done = otgan_alone(*words)
    assert done.returncode == 0, done
    assert kept(cell)[-1] == 40_000
    assert "resuming after step" in (cell / "log.txt").read_text()


def test_a_run_that_found_no_room_to_begin_begins_when_there_is(disk, elsewhere):
    ballast = fill(disk)
    words = ["run", "sinkhorn-grid", *SMALL, *TINY, "--out", disk / "run"]
    done = otgan(*words)
    assert done.exit_code == 2
    assert f"cannot write to {disk / 'run'} (No space left on device)" in done.output
    ballast.unlink()
    assert otgan(*words).exit_code == 0


def test_a_disk_that_may_only_be_read_is_one_sentence(disk, elsewhere):
    assert otgan("run", "sinkhorn-grid", *SMALL, *TINY, "--out", disk / "run").exit_code == 0
    before = (disk / "run/status.json").read_text()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    done = otgan("run", disk / "run")
    assert done.exit_code == 2
    assert f"cannot write to {disk / 'run'} (Read-only file system)" in done.output
    assert (disk / "run/status.json").read_text() == before


def test_a_folder_that_goes_away_is_one_sentence_and_does_not_come_back(tmp_path):
    class Removes(Silent):
        def advance(self, progress):
            shutil.rmtree(tmp_path / "run", ignore_errors=True)

    with pytest.raises(UserError, match=r"cannot write to .* \(No such file or directory\)"):
        run(tiny_config(), tmp_path / "run", Removes())
    assert not (tmp_path / "run").exists()


def test_a_status_is_written_in_its_own_place_where_there_is_no_other(disk):
    folder = RunFolder(disk)
    folder.write_status("running", 1, 1.0, {"a": "x" * 200})
    fill(disk)
    folder.write_status("finished", 2, 1.0, {})
    assert status(disk)["state"] == "finished"
    folder.write_status("running", 3, 1.0, {"a": "x" * 300})
    with pytest.raises(OSError, match="No space left"):
        folder.write_status("finished", 4, 1.0, {"a": "x" * 5_000})
    assert status(disk)["step"] == 3


def test_a_record_that_finds_no_room_stays_as_it_was(disk):
    record = disk / "record.json"
    write_atomically(record, "old")
    fill(disk)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(record, "new" * 10_000)
    assert record.read_text() == "old"
    assert sorted(path.name for path in disk.iterdir()) == ["ballast", "record.json"]


def test_what_a_killed_save_left_is_removed_by_the_next_run(tmp_path):
    config = tiny_config(**{"train.steps": 10})
    folder, _ = run(config, tmp_path / "run")
    left = folder.checkpoints / f"20{UNCOMMITTED}"
    (left / "state").mkdir(parents=True)
    with Checkpoints(folder.checkpoints):  # a reader leaves it alone: it may be of a run at work
        assert left.exists()
    run(config, tmp_path / "run")
    assert not left.exists()


def test_scores_and_pages_that_find_no_room_are_one_sentence(disk, tmp_path, elsewhere):
    assert otgan("run", "sinkhorn-grid", *SMALL, *TINY, "--out", tmp_path / "run").exit_code == 0
    (disk / "judged").mkdir()
    (disk / "page.html").touch()
    fill(disk)
    for words, place in (
        (["eval", tmp_path / "run", "--modes", "--out", disk / "judged"], disk / "judged"),
        (["report", tmp_path / "run", "-o", disk / "page.html"], disk / "page.html"),
    ):
        done = otgan(*words)
        assert done.exit_code == 2, done.exception
        assert re.search(
            rf"Error: cannot write (to )?{place} \(No space left on device\); .*room", done.output
        )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("words", [["eval", "--modes", "--json"], ["report", "--json"]])
def test_what_finds_no_room_to_be_printed_is_one_sentence(words, tmp_path):
    path = tmp_path / "run"
    assert otgan("run", "sinkhorn-grid", *SMALL, *TINY, "--out", path).exit_code == 0
    words = [words[0], path, *words[1:]]
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "otgan", *map(str, words)]
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=300
        )
    assert done.returncode == 2, done.stderr
    assert (
        done.stderr
        == "Error: cannot write what is to be printed or kept (No space left on device); make room"
        " and try again\n"
    )
