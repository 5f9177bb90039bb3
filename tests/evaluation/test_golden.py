"""Fixed numbers of every measure on small fixed arrays, of how feature networks look at examples,
and of how examples are chosen.

A score's fingerprint has the versions of what it depends on. So numbers may change under a new
version only. Where they change on purpose, raise the version (of a measure in
`otgan/results/declared.py`, of the others in `otgan/versions.py`), and write the new numbers into
`tests/fixtures/golden.json` by

    python tests/evaluation/test_golden.py

which refuses to change numbers under a version that stays.
"""

import json
import sys
from itertools import islice
from pathlib import Path
from unittest.mock import Mock

import jax
import numpy as np
import pytest

from otgan import versions
from otgan.batches import BatchSource, draw_latents
from otgan.data import Dataset
from otgan.evaluation.measure import Real
from otgan.evaluation.measures import MEASURES
from otgan.evaluation.stats import FeatureStats, real_examples
from otgan.features import _for_inception, make_features
from otgan.metrics.frechet import Moments
from otgan.models import imagenet
from otgan.models.classifiers import CLASSIFIERS
from otgan.results.declared import ALL
from otgan.sampling import draw
from otgan.step import TrainState
from otgan.system import System

FIXTURE = Path(__file__).parents[1] / "fixtures/golden.json"
COMMAND = "python tests/evaluation/test_golden.py"
EXACTLY = {"rel": 1e-6, "abs": 1e-12}
# of networks, whose sums a processor may take in another order
IN_SINGLE = {"rel": 1e-4, "abs": 1e-5}
# of the clouds whose distance is solved for in single precision, so that it is no small difference
# of large numbers
APART = 2.0


def fixed(*shape, by=1.0):
    """Numbers in (0, 1) that no generator of random numbers has a say in."""
    return np.modf(np.abs(np.sin(by * np.arange(1, 1 + np.prod(shape))) * 4375.85453))[0].reshape(
        shape
    )


def stats(n, by, at=0.0):
    """Of points in the plane, with features of their own and the probabilities of three classes."""
    features = (at + 3 * fixed(n, 4, by=by)).astype(np.float32)
    classes = fixed(n, 1, 3, by=by) ** 8 + 1e-3
    probabilities = classes / classes.sum(axis=2, keepdims=True)
    return FeatureStats(
        (at + 8 * fixed(n, 2, by=by) - by).astype(np.float32),
        features,
        Moments.empty(4).add(features),
        probabilities,
    )


CENTERS = 2.0 * np.stack(np.meshgrid(np.arange(4), np.arange(4)), axis=-1).reshape(-1, 2)
DATASET = Dataset(
    "golden",
    stats(60, 0.7).examples,
    stats(20, 0.9).examples,
    CENTERS.astype(np.float32),
    0.2,
    labels=np.arange(60) % 4,
)


def of_measure(measure):
    """What it computes of 80 points, and of as many real ones as it compares them with."""
    generated, real = (
        stats(80, 1.3, APART if measure.solver else 0.0),
        stats(80 // measure.sets if measure.sets else 50, 0.9),
    )
    return {
        name: float(value)
        for name, value in measure.compute(generated, Real(DATASET, real)).items()
    }


def of_network(name):
    """Of a few pictures: what it sees of them or, where its weights are not in the package, what is
    done to them before.
    """
    pictures = np.rint(255 * fixed(3, 28, 28, 3, by=1.1)).astype(np.uint8)
    if name == "points":
        seen = make_features(name, (2,)).look(DATASET.test[:])[0]
    elif name == "inception":
        seen = np.stack(
            [_for_inception(pictures, convention) for convention in ("tf1", "half_pixel")]
        )
    elif name.startswith("dinov2") or name == "resnet50":
        seen = imagenet.prepare(pictures)
    elif name == "encoder":
        # it is prepared as they are
        seen = make_features("pixels", pictures.shape[1:]).look(pictures)[0]
    else:
        h, w, c = CLASSIFIERS[name].shape if name in CLASSIFIERS else pictures.shape[1:]
        pictures = np.rint(255 * fixed(3, h, w, c, by=1.1)).astype(np.uint8)
        seen = make_features(name, (h, w, c)).look(pictures)[0]
    found = np.asarray(seen, np.float64)
    return {
        "shape": list(found.shape),
        "mean": found.mean(),
        "sd": found.std(),
        "largest": found.max(),
        "last": found.reshape(-1)[-1],
    }


def of_sampling():
    """The first latents of two chunks of a seed, and which real examples are taken."""
    nothing = BatchSource(np.zeros((0, 2)), None, None)
    sample = jax.jit(lambda key: draw_latents(nothing, key, 1_000, 2))
    system = Mock(
        spec=System,
        sample=lambda dual, average, key, size, source: sample(key),
        form=Mock(images=False),
    )
    state = Mock(spec=TrainState, dual=(), average=())
    chunks = islice(draw(system, state, seed=1), 2)
    latents = {f"latent_{k}": float(chunk[-1, 1]) for k, chunk in enumerate(chunks)}
    points = Dataset("points", np.arange(101.0)[:, None], np.arange(7.0)[:, None])
    images = Dataset("images", points.train[:, :, None, None], points.test[:, :, None, None])
    taken = {
        f"{dataset.name}_{split}_{which}": (
            real_examples(dataset, split, 6, which).reshape(-1).tolist()
        )
        for dataset in (points, images)
        for split, which in (("train", 2), ("test", 0))
    }
    return {**latents, **taken}


TABLE = {
    measure.declared.name: (measure.declared.version, of_measure, measure, EXACTLY)
    for measure in MEASURES
}
TABLE |= {
    f"network {name}": (version, of_network, name, IN_SINGLE)
    for name, version in versions.NETWORKS.items()
}
TABLE |= {"sampling": (versions.SAMPLING, lambda _: of_sampling(), None, EXACTLY)}


def now(name):
    """The version and numbers of an entry, as the package has them."""
    version, compute, argument, _ = TABLE[name]
    return {
        "version": version,
        "transport": versions.TRANSPORT if getattr(argument, "solver", False) else 0,
        "numbers": compute(argument),
    }


def agree(one, other, tolerance):
    """Whether two entries have the same numbers."""
    return one.keys() == other.keys() and all(
        one[name] == pytest.approx(other[name], **tolerance) for name in one
    )


@pytest.mark.parametrize("name", TABLE)
def test_numbers_change_under_a_new_version_only(name):
    stored, found = json.loads(FIXTURE.read_text()).get(name), now(name)
    assert stored, f"{name} has no stored numbers yet: write them by {COMMAND}"
    if (stored["version"], stored["transport"]) == (found["version"], found["transport"]):
        said = (
            f"{name} gives {found['numbers']}, and gave {stored['numbers']}. Stored scores would"
            " not be comparable any more, and nobody"
        )
        assert agree(stored["numbers"], found["numbers"], TABLE[name][3]), (
            f"{said} be told. If it is meant: {__doc__}"
        )
    else:
        raise AssertionError(
            f"{name} has another version than its stored numbers: write the new ones by {COMMAND}"
        )


def test_every_measure_is_there_once_and_nothing_else():
    assert [measure.declared for measure in MEASURES] == list(ALL)
    assert set(json.loads(FIXTURE.read_text())) == set(TABLE)


def rewrite():
    """Write the numbers of what is new or has a new version. Returns what was refused."""
    stored = json.loads(FIXTURE.read_text()) if FIXTURE.exists() else {}
    found, refused = {}, []
    for name in TABLE:
        found[name], old = now(name), stored.get(name)
        if old and all(old[key] == found[name][key] for key in ("version", "transport")):
            refused += (
                [] if agree(old["numbers"], found[name]["numbers"], TABLE[name][3]) else [name]
            )
            found[name] = old
    FIXTURE.write_text(json.dumps(found, indent=1) + "\n")
    return refused


if __name__ == "__main__":
    if names := rewrite():
        sys.exit(
            f"the numbers of {', '.join(names)} changed, and their versions did not: raise these"
            " first"
        )
