"""What the world does to a run: signals at its end, full disks, folders that go away."""

import errno
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from otgan import loop
from otgan.checkpoints import UNCOMMITTED, Checkpoints
from otgan.errors import UserError
from otgan.files import write_atomically
from otgan.results.ending import accounted
from otgan.runs import RunFolder
from tests.support import REPOSITORY
from tests.support.commands import SMALL, TINY, otgan, otgan_alone
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


def status(path):
    return json.loads((path / "status.json").read_text())


def errors_at_the_end(process, seconds):
    """What a process says on standard error until it ends; it is killed if it hangs."""
    try:
        return process.communicate(timeout=seconds)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def kept(path):
    return sorted(int(one.name) for one in (path / "checkpoints").iterdir() if one.name.isdigit())


# --- signals --------------------------------------------------------------------------------------


@pytest.mark.nightly
def test_a_signal_around_the_end_leaves_a_whole_checkpoint_and_a_last_word(tmp_path):
    command = [sys.executable, "-m", "tests.support.signalled", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, (done.returncode, done.stderr)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    cut = ("drawing", "judging", "measuring")
    assert len(found) == 7
    for moment, newest, *states in found:
        assert newest == 10
        assert states == (
            ["interrupted", "interrupted", "finished"]
            if moment in cut
            else ["finished", "finished"]
        ), moment


def test_a_long_judgment_ends_at_once_and_is_made_up_for(elsewhere):
    slow = (
        "import time\n"
        "from otgan import loop\n"
        "from otgan.cli import main\n"
        "loop.judge = lambda *_: (print('judging', flush=True), time.sleep(120))\n"
        "main()\n"
    )
    words = ["run", "sinkhorn-grid", *SMALL, *TINY, "--out", "run"]
    with subprocess.Popen(
        [sys.executable, "-c", slow, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "judging\n"
        began = time.monotonic()
        process.terminate()
        errors = errors_at_the_end(process, 60)
    assert time.monotonic() - began < 20
    assert process.returncode == 143
    again = shlex.join(["otgan", *words])
    assert errors == f"interrupted after step 6; go on with: {again}\n"
    assert status(Path("run"))["state"] == "interrupted"
    assert kept(Path("run")) == [6]
    assert otgan(*words).exit_code == 0
    assert status(Path("run"))["state"] == "finished"


def test_a_second_ctrl_c_ends_a_run_at_once_and_is_said(tmp_path):
    class Impatient(Silent):
        def advance(self, progress):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.5)  # two at once could be taken for one

    # as in a terminal; test runners may ignore it
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(tiny_config(), tmp_path / "run", Impatient())
    finally:
        signal.signal(signal.SIGINT, before)
    assert status(tmp_path / "run")["state"] == "interrupted"
    assert run(tiny_config(), tmp_path / "run")[1].state == "finished"


def test_a_run_that_ends_by_an_error_of_ours_has_failed(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no such luck\nat all")

    with monkeypatch.context() as patched:
        patched.setattr(loop, "draw", broken)
        with pytest.raises(RuntimeError):
            run(tiny_config(), tmp_path / "run")
    assert status(tmp_path / "run")["state"] == "failed"
    assert status(tmp_path / "run")["reason"] == "ended by RuntimeError: no such luck"
    assert run(tiny_config(), tmp_path / "run")[1].state == "finished"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "cannot write to {run} (No space left on device); make room",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "/cache/x"),
            "cannot write to /cache/x (No space left on device); make room",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", b"/cache/x"),
            "cannot write to /cache/x (Read-only file system); make room",
        ),
        (
            OSError(errno.EIO, "Input/output error", "/data/x"),
            "Input/output error, of /data/x; see to that",
        ),
        (
            OSError(errno.ENOENT, "No such file or directory", "/data/x"),
            "No such file or directory, of /data/x; see to that",
        ),
        (
            OSError(errno.ECONNRESET, "Connection reset by peer"),
            "Connection reset by peer; see to that",
        ),
        (OSError("cannot identify a picture"), "cannot identify a picture; see to that"),
        (
            BrokenPipeError(errno.EPIPE, "Broken pipe"),
            "nobody reads any more what is printed (broken pipe)",
        ),
    ],
)
def test_an_error_of_the_systems_is_told_as_what_it_was(error, sentence, tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_status("running", 3, 1.0, {})
    with (
        pytest.raises(OSError if isinstance(error, BrokenPipeError) else UserError),
        accounted(folder),
    ):
        raise error
    assert status(tmp_path)["state"] == "interrupted"
    assert status(tmp_path)["reason"].startswith(sentence.format(run=tmp_path))
    assert status(tmp_path)["reason"].endswith(f"go on with: otgan run {tmp_path}")


# --- disks ----------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path):
    """A disk of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        not shutil.which("mount")
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place],
            check=False,
            capture_output=True,
        ).returncode
    ):
        pytest.skip("this user may mount no file systems")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk):
    """Take all the room that is left. Returns the file that has it."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    assert not shutil.disk_usage(disk).free
    return ballast


def one_sentence(done, path):
    """A command's one line on standard error that says what to do, and its exit code."""
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(
        rf"Error: cannot write to {path} \([\w ,-]+\); make room .*: otgan run .*{path}.*\n",
        done.stderr,
    )


@pytest.mark.nightly
def test_a_disk_that_checkpoints_fill_ends_a_run_with_a_sentence(disk):
    done = otgan_alone(*LONG, *LARGE_STATE, "--set", "train.pictures=20000", "--out", disk / "run")
    one_sentence(done, disk / "run")
    ended = status(disk / "run")
    assert ended["state"] == "interrupted"
    assert "No space left on device" in ended["reason"]
    assert kept(disk / "run")
    assert not [one for one in (disk / "run/checkpoints").iterdir() if UNCOMMITTED in one.name]


def test_a_disk_that_others_fill_ends_a_run_and_it_goes_on_when_there_is_room(disk):
    path = disk / "run"
    command = [
        sys.executable,
        "-m",
        "otgan",
        *map(str, LONG),
        *SMALL_STATE,
        *FEW_LINES,
        "--out",
        str(path),
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while not ((path / "checkpoints").is_dir() and kept(path)):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        ballast = fill(disk)
        errors = errors_at_the_end(process, 120)
    one_sentence(subprocess.CompletedProcess(command, process.returncode, "", errors), path)
    assert status(path)["state"] == "interrupted"
    before = kept(path)
    assert before
    fill(disk)  # what the end of the process has given back
    one_sentence(otgan_alone("run", path, "--quiet"), path)  # there is no room for going on either
    assert status(path)["state"] == "interrupted"
    assert kept(path) == before
    ballast.unlink()
    again = otgan("run", path, "--quiet", "--generator-steps", before[-1] + 1_000)
    assert again.exit_code == 0, again.output
    assert status(path)["state"] == "finished"
    assert kept(path)[-1] == before[-1] + 1_000


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
