import hashlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from otgan.errors import UserError
from otgan.weights import download as module
from otgan.weights.download import download

CONTENT = np.random.default_rng(0).bytes(1_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2


class Server(ThreadingHTTPServer):
    """Serves CONTENT, and can be told to misbehave."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges = []  # those asked for
        self.stop_after = len(CONTENT)  # bytes of an answer
        self.resumes = True
        self.status = 200
        self.silent = threading.Event()
        self.silent.set()
        self.address = f"http://127.0.0.1:{self.server_address[1]}/weights.pth"


class Handler(BaseHTTPRequestHandler):
    server: Any

    def do_GET(self):
        self.server.silent.wait()
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = (
            int(asked.removeprefix("bytes=").removesuffix("-"))
            if asked and self.server.resumes
            else 0
        )
        if self.server.status != 200 or start >= len(CONTENT):
            self.send_error(416 if self.server.status == 200 else self.server.status)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start:][: self.server.stop_after])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.silent.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "weights.pth"


def files(target):
    return sorted(path.name for path in target.parent.iterdir())


def test_fetches_and_shows(server, target):
    shown = []
    assert (
        download(server.address, target, DIGEST, lambda done, total: shown.append((done, total)))
        == target
    )
    assert target.read_bytes() == CONTENT
    assert files(target) == ["weights.pth"]
    assert shown[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in shown] == sorted({done for done, _ in shown})


def test_goes_on_where_it_was_interrupted(server, target):
    server.stop_after = HALF
    with pytest.raises(UserError, match=f"ended at {HALF} of {len(CONTENT)} bytes"):
        download(server.address, target, DIGEST)
    assert files(target) == ["weights.pth.part"]
    shown = []
    download(server.address, target, DIGEST, lambda done, total: shown.append((done, total)))
    assert server.ranges == [None, f"bytes={HALF}-"]
    assert target.read_bytes() == CONTENT
    assert shown[0][0] > HALF
    assert shown[-1] == (len(CONTENT), len(CONTENT))


@pytest.mark.parametrize("part", [CONTENT[:HALF], CONTENT], ids=["half", "whole"])
def test_a_part_is_used_whatever_the_server_can(server, target, part):
    server.resumes = part is CONTENT  # else it sends all from the start
    target.with_name("weights.pth.part").write_bytes(part)
    download(server.address, target, DIGEST)
    assert target.read_bytes() == CONTENT


def test_refuses_another_file_and_keeps_nothing_of_it(server, target):
    with pytest.raises(UserError, match=f"begins with {DIGEST[:8]}, not 00000000"):
        download(server.address, target, "0" * 64)
    assert files(target) == []


def test_a_part_of_another_file_is_found_out_and_dropped(server, target):
    target.with_name("weights.pth.part").write_bytes(b"x" * HALF)
    with pytest.raises(UserError, match="not the file expected"):
        download(server.address, target, DIGEST)
    assert files(target) == []
    download(server.address, target, DIGEST)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [404, 500, 403])
def test_says_what_the_server_answers(server, target, status):
    server.status = status
    with pytest.raises(UserError, match=f"answers {status}"):
        download(server.address, target, DIGEST)
    assert files(target) == []


def test_says_that_there_is_no_server(server, target):
    server.server_close()
    with pytest.raises(UserError, match="no connection to http://127"):
        download(server.address, target, DIGEST)
    assert files(target) == []


def test_does_not_wait_for_a_silent_server(server, target, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.1)
    server.silent.clear()
    start = time.monotonic()
    with pytest.raises(UserError, match="timed out"):
        download(server.address, target, DIGEST)
    assert time.monotonic() - start < 4
