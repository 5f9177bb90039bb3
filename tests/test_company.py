"""One run in several processes: the numbers of one, one writer, and no process that is left
waiting for another.
"""

import os
import signal
import socket
import threading
import time
from contextlib import closing

import jax
import numpy as np
import pytest

from otgan.checkpoints import Checkpoints
from otgan.errors import UserError
from otgan.hosts import Place, find_place
from otgan.hosts.wire import Wire
from otgan.launch import check_others, facts
from otgan.restore import restore
from otgan.runs import RunFolder
from tests.support.begun import kept, status
from tests.support.commands import otgan, otgan_alone
from tests.support.company import BRIEF, as_one_of, at_work, company, ends, free_port, losses
from tests.support.helpers import setup, tiny_config

# of a family with few operations that wait for the other process, which may have no core
ENDLESS = ["drifting-grid", *BRIEF, "--steps", 10**6, "--set", "train.checkpoint_seconds=0.5"]
SOLVED = ["sinkhorn-grid", *BRIEF, "--lam", "1x", "--epsilon", "1x"]
# goes on for longer as if from the start
SOLVED += ["--set", "generator.optimizer.schedule=constant"]


def until(condition, processes, seconds=900):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        for process in processes:
            assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)


def parameters(path):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(restore(RunFolder(path)).state.players)]


def test_two_processes_train_as_one_does_and_go_on_where_one_stopped(tmp_path):
    """Also a checkpoint of one process goes on in two, and the other way round."""
    one, two = tmp_path / "one", tmp_path / "two"
    done = otgan_alone("run", *SOLVED, "--steps", 3, "--out", one)
    assert done.returncode == 0, done.stderr
    with company(tmp_path, 2, *SOLVED, "--steps", 2, "--out", two) as processes:
        assert ends(processes) == [(0, ""), (0, "")]
    assert list((tmp_path / "place-1").iterdir()) == []  # one writer
    np.testing.assert_allclose(losses(two), losses(one)[:2], rtol=1e-5)
    done = otgan_alone("run", two, "--steps", 3, "--quiet")
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(losses(two), losses(one), rtol=1e-5)
    for a, b in zip(parameters(one), parameters(two), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5 * np.abs(a).max())
    with company(tmp_path, 2, one, "--steps", 4, "--quiet") as processes:
        assert ends(processes) == [(0, ""), (0, "")]
    assert max(kept(one)) == 4


@pytest.mark.slow
def test_four_processes_train_as_one_does(tmp_path):
    one, four = tmp_path / "one", tmp_path / "four"
    done = otgan_alone("run", *SOLVED, "--steps", 2, "--out", one)
    assert done.returncode == 0, done.stderr
    with company(tmp_path, 4, *SOLVED, "--steps", 2, "--out", four) as processes:
        assert ends(processes) == [(0, "")] * 4
    np.testing.assert_allclose(losses(four), losses(one), rtol=1e-5)
    for a, b in zip(parameters(one), parameters(four), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5 * np.abs(a).max())


@pytest.mark.slow
def test_what_the_leader_alone_finds_out_ends_all(tmp_path):
    """Here, that its folder is somebody else's."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    with company(tmp_path, 2, *SOLVED, "--steps", 2, "--out", tmp_path / "mine") as processes:
        (leader, said), (follower, told) = ends(processes)
    assert (leader, follower) == (2, 2)
    assert "holds something else than a run" in said
    assert told.startswith(f"process 0 on {os.uname().nodename} ended: ")
    assert "holds something else than a run" in told


def test_a_termination_of_any_process_saves_and_ends_all(tmp_path):
    path = tmp_path / "run"
    with company(tmp_path, 2, *ENDLESS, "--out", path) as processes:
        until(lambda: at_work(path), processes)
        processes[1].send_signal(signal.SIGTERM)
        (leader, said), (follower, told) = ends(processes)
    assert (leader, follower) == (143, 143)
    step = status(path)["step"]
    assert status(path)["state"] == "interrupted"
    assert max(kept(path)) == step > 0
    assert f"interrupted after step {step}; go on with: otgan run" in said
    assert told.startswith(f"process 0 ended the run: interrupted after step {step}")


@pytest.mark.parametrize("killed", [0, 1])
def test_who_is_left_when_a_process_is_killed_says_so_and_ends(killed, tmp_path):
    path = tmp_path / "run"
    with company(tmp_path, 2, *ENDLESS, "--out", path) as processes:
        until(lambda: at_work(path), processes)
        began = time.monotonic()
        processes[killed].kill()
        _, said = processes[1 - killed].communicate(timeout=120)
        assert time.monotonic() - began < 60
    assert processes[1 - killed].returncode == 1
    lines = said.strip().splitlines()
    assert len(lines) == 1, said
    assert f"process {killed} on {os.uname().nodename} is gone" in lines[0]
    if killed:
        assert status(path)["state"] == "interrupted"
        assert "go on with: otgan run" in status(path)["reason"]
    with Checkpoints(path / "checkpoints") as checkpoints:
        assert checkpoints.newest


def test_processes_with_other_configs_are_refused_before_anything_is_written(tmp_path):
    path = tmp_path / "run"
    others = [*SOLVED, "--lam", "0.5x"]
    with company(tmp_path, 2, *SOLVED, "--out", path, others=others) as processes:
        for code, said in ends(processes):
            assert code == 2
            assert said.splitlines() == [
                f"Error: process 1 on {os.uname().nodename} was started otherwise than process 0:"
                " oracle.lam (1x in process 0, 0.5x there); give all processes the same command"
            ]
    assert not path.exists()


def refusal(*words):
    """What a process says that cannot take part."""
    began = time.monotonic()
    done = otgan("run", "sinkhorn-grid", *words)
    assert time.monotonic() - began < 60
    assert done.exit_code == 2, done.output
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def test_a_process_that_waits_for_others_in_vain_ends(elsewhere):
    port = free_port()
    said = refusal(*as_one_of(3, 0, port), "--wait", 1)
    assert "waited 1 seconds for 3 processes, and 1, 2 did not come" in said
    said = refusal(*as_one_of(3, 1, port), "--wait", 1)
    assert f"nobody answered at 127.0.0.1:{port} within 1 seconds" in said


def test_a_port_in_use_is_refused(elsewhere):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal(*as_one_of(2, 0, port))
        assert f"port {port} of --coordinator is in use on this host" in said


def test_who_is_no_process_of_ours_is_not_waited_for(elsewhere):
    """Neither one that listens where process 0 should be, nor one that knocks there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:

        def mumble():
            with taken.accept()[0] as connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=mumble, daemon=True).start()
        said = refusal(*as_one_of(2, 1, taken.getsockname()[1]), "--wait", 1)
        assert "is no process of otgan's" in said
    port = free_port()

    def knock():
        for message in (b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\2[]", b"\0\0\0\2{}"):
            end = time.monotonic() + 60
            while time.monotonic() < end:
                try:
                    with socket.create_connection(("127.0.0.1", port)) as connection:
                        connection.sendall(message)
                        connection.recv(1)
                        break
                except OSError:
                    time.sleep(0.05)

    threading.Thread(target=knock, daemon=True).start()
    assert "and 1 did not come" in refusal(*as_one_of(2, 0, port), "--wait", 3)


def test_two_processes_of_one_number_are_refused(elsewhere):
    port, told = free_port(), []

    def come_as_the_leader():
        end = time.monotonic() + 60
        while not told and time.monotonic() < end:
            try:
                wire = Wire(socket.create_connection(("127.0.0.1", port)))
                with closing(wire):
                    wire.send({"otgan": True, "index": 0, "count": 2, "version": "", "mind": {}})
                    told.append(wire.receive())
            except OSError:
                time.sleep(0.05)

    thread = threading.Thread(target=come_as_the_leader, daemon=True)
    thread.start()
    said = refusal(*as_one_of(2, 0, port), "--wait", 30)
    assert "two processes say that they are --process-id 0" in said
    thread.join()
    assert told[0]["refused"] in said


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--num-processes", 2], "--num-processes also needs --coordinator and --process-id"),
        (["--process-id", 1], "--process-id also needs --coordinator and --num-processes"),
        (as_one_of(2, 2, 9), "--process-id 2: the processes of --num-processes 2 are 0 to 1"),
        (
            ["--coordinator", "here", "--num-processes", 2, "--process-id", 0],
            "--coordinator here: give the host of process 0 and a free port there",
        ),
    ],
)
def test_half_a_place_or_one_that_cannot_be_is_refused(words, why, elsewhere):
    assert why in refusal(*words)


def test_one_process_of_one_is_alone():
    assert find_place("127.0.0.1:9", 1, 0) is None
    assert find_place(None, None, None) is None
    assert find_place(None, 1, None) is None


def test_a_step_of_slurm_gives_every_process_its_place(monkeypatch):
    step = {"JOB_ID": 77, "STEP_NODELIST": "node[07-09]", "NTASKS": 3, "PROCID": 2, "LOCALID": 1}
    for name, value in step.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    found = find_place(None, None, None, 5)
    assert found == Place("node07", 61440 + 77, 3, 2, 5, (1,))
    assert find_place(None, 1, None) is None  # each task its own run
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert find_place(None, None, None) is None


def test_openmpi_gives_every_process_its_place(monkeypatch):
    monkeypatch.setenv("OMPI_MCA_orte_hnp_uri", "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911")
    for name, value in (("SIZE", 4), ("RANK", 3), ("LOCAL_RANK", 0)):
        monkeypatch.setenv(f"OMPI_COMM_WORLD_{name}", str(value))
    found = find_place(None, None, None, 5)
    assert found is not None
    assert (found.host, found.count, found.index, found.devices) == ("10.96.0.1", 4, 3, (0,))


def test_processes_that_see_other_data_are_refused():
    together = setup(tiny_config())
    mine = facts(together)
    check_others(together, [mine, mine])
    with pytest.raises(
        UserError, match=r"^process 2 sees another data set \(\w+ in process 0, x there"
    ):
        check_others(together, [mine, {**mine, "data set": "x"}])
