"""Files that several processes share: who holds a lock, and what is left where writing fails."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest

from otgan import cache, files
from otgan.errors import UserError
from otgan.files import append_line, is_locked, is_unfinished, lock, opened_whole, write_atomically
from otgan.runs import RunFolder

SECOND_USER = 65534


@pytest.fixture
def full(monkeypatch):
    """A disk that turns out to be full when what was written is to be put on it."""

    def refuse(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", refuse)


# --- locks ----------------------------------------------------------------------------------------


def test_who_holds_a_lock_keeps_others_out(tmp_path):
    path, entered = tmp_path / "file", threading.Event()

    def wait():
        with lock(path):
            entered.set()

    assert not is_locked(path)
    with lock(path):
        assert is_locked(path)
        with pytest.raises(BlockingIOError), lock(path, wait=False):
            pass
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not entered.wait(0.2)
    assert entered.wait(20)
    waiting.join()
    assert not is_locked(path)


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user, which root alone may")
@pytest.mark.parametrize("shared", [True, False])
def test_a_second_user_locks_in_a_folder_of_both(shared):
    """In one that is the first user's alone nothing could be written under the lock."""
    with tempfile.TemporaryDirectory() as name:  # `tmp_path` lies in a folder of its user's alone
        path = Path(name) / "file"
        with lock(path):
            pass
        path.chmod(0o644)
        path.parent.chmod(0o777 if shared else 0o755)
        os.setresuid(SECOND_USER, SECOND_USER, 0)
        try:
            refused = nullcontext() if shared else pytest.raises(PermissionError)
            with refused, lock(path):
                assert is_locked(path)
        finally:
            os.setresuid(0, 0, 0)


def test_a_folder_is_not_locked_itself(tmp_path):
    """Over NFS no other host would know of it."""
    with pytest.raises(IsADirectoryError), lock(tmp_path):
        pass


def test_a_process_that_is_killed_gives_its_lock_up(tmp_path):
    hold = "with lock(pathlib.Path(sys.argv[1])): print(flush=True); time.sleep(60)"
    code = f"import pathlib, sys, time\nfrom otgan.files import lock\n{hold}"
    path = tmp_path / "file"
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        assert is_locked(path)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert not is_locked(path)


def test_asking_for_a_lock_makes_nothing(tmp_path):
    assert not is_locked(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_run_folder_is_refused_or_waited_for(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with (
        folder.locked(),
        pytest.raises(UserError, match="another otgan process is at work"),
        RunFolder(folder.path).locked(),
    ):
        pass
    with folder.locked(wait=True):
        assert folder.at_work
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write to"), RunFolder(tmp_path / "file").locked():
        pass


# --- writing --------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_old_file_whole(tmp_path, full):
    path = tmp_path / "status.json"
    path.write_text("old")
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new" * 1_000)
    assert [*tmp_path.iterdir()] == [path]  # nor is half of the new one in the way
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
def test_whatever_ends_the_writing_leaves_the_old_file_whole(tmp_path, error):
    path = tmp_path / "arrays.npz"
    path.write_bytes(b"old")

    def write():
        with opened_whole(path) as file:
            file.write(b"half of")
            raise error

    with pytest.raises(type(error)):
        write()
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_bytes() == b"old"


def test_readers_see_the_old_content_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")
    with opened_whole(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
        (other,) = set(tmp_path.iterdir()) - {path}
        assert is_unfinished(other)
        assert not is_unfinished(tmp_path / "notes.new")  # somebody's own
        write_atomically(path, "by another process")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_cache_that_cannot_be_written_is_none(tmp_path, full):
    cache.write(tmp_path / "c/arrays.npz", {})
    assert not [*(tmp_path / "c").iterdir()]
    (tmp_path / "file").touch()
    cache.write(tmp_path / "file/arrays.npz", {})


def test_a_run_can_be_begun_where_one_was_killed_while_it_wrote_its_first_record(tmp_path):
    folder = RunFolder(tmp_path)
    (tmp_path / "config.json.0a1b2c3d.new").write_text('{"na')
    folder.require_free()
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match="holds something else"):
        folder.require_free()


@pytest.mark.parametrize(
    ("there", "then"), [(None, "b\n"), ("", "b\n"), ("a\n", "a\nb\n"), ('{"a', '{"a\nb\n')]
)
def test_a_line_is_added_behind_whole_ones(tmp_path, there, then):
    path = tmp_path / "scores.jsonl"
    if there is not None:
        path.write_text(there)
    append_line(path, "b")
    assert path.read_text() == then
