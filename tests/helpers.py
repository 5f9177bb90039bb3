"""Small runs for tests."""

from otgan import data, experiments
from otgan.config import Grid
from otgan.loop import prepare, train
from otgan.runs import RunFolder

TINY = {
    "batch.size": 32,
    "generator.width": 16,
    "train.steps": 40,
    "train.pictures": 2,
    "data.side": 2,
    "data.size": 2_000,
}


class Silent:
    """A show that shows nothing."""

    def begin(self, progress, resumed):
        self.resumed = resumed

    def advance(self, progress):
        pass


def tiny_config(name="sinkhorn-grid", **changes):
    return experiments.resolve(name, {**TINY, **changes})


def dataset(config):
    assert isinstance(config.data, Grid)
    return data.load(config.data)


def run(config, path, show=None):
    """Train in a folder, new or begun."""
    folder = RunFolder(path)
    if not folder.exists:
        path.mkdir()
        folder.create(config.json())
    return folder, train(prepare(config, dataset(config), None), folder, show or Silent())
