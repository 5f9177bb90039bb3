"""`otgan weights`, as users type it."""

from pathlib import Path

import pytest

from tests.support.commands import otgan

pytestmark = pytest.mark.slow


def test_weights_are_listed_with_their_hashes(elsewhere):
    done = otgan("weights", "list")
    assert done.exit_code == 0, done.output
    assert all(name in done.output for name in ("mnist-lenet", "cifar10-resnet", "inception"))


def test_what_is_no_weights_file_is_refused(elsewhere):
    Path("w.pth").write_bytes(b"nothing of the kind")
    done = otgan("weights", "import", "w.pth")
    assert done.exit_code == 2
    assert "w.pth" in done.output
    assert not list(Path("cache").rglob("*.safetensors"))
