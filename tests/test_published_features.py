"""DINOv2 and ResNet-50 as features, from the file of weights to the score, with tiny networks in
the place of the true ones.
"""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from otgan import features as module
from otgan.config import Cost
from otgan.data import digits
from otgan.errors import UserError
from otgan.features import make_features
from otgan.models import imagenet
from otgan.models.dinov2 import NETWORKS
from otgan.models.resnet50 import ResNet50
from otgan.weights import catalog, resnet50, store
from tests.support.commands import otgan
from tests.support.compared import networks

TINY_RESNET = replace(networks.TINY_RESNET, classes=1000)


@pytest.fixture(autouse=True)
def tiny(monkeypatch, elsewhere):
    monkeypatch.setattr(imagenet, "SIDE", 56)
    monkeypatch.setitem(NETWORKS, "dinov2-s", networks.TINY_DINO)
    monkeypatch.setitem(
        catalog.PUBLISHED,
        "resnet50",
        replace(resnet50.PUBLISHED, convert=partial(resnet50.convert, module=TINY_RESNET)),
    )
    monkeypatch.setattr(
        module, "ResNet50", partial(ResNet50, width=TINY_RESNET.width, blocks=TINY_RESNET.blocks)
    )


def imported(network, seed, *words):
    """The command's output, and the hash of the file that was imported."""
    state = (
        networks.random_dinov2(networks.TINY_DINO, seed)
        if network == "dinov2-s"
        else networks.random_resnet50(TINY_RESNET, seed)
    )
    path = Path(f"{network}-{seed}.safetensors")
    save_file(state, path)
    done = otgan("weights", "import", path, "--network", network, *words)
    assert done.exit_code == 0, done.output
    return done.output, store.sha256(path)


def test_the_command_knows_every_network_of_published_weights():
    assert set(Cost.PUBLISHED) == set(catalog.PUBLISHED)


def test_import_says_where_the_weights_are_and_that_they_are_not_the_published_ones():
    output, source = imported("dinov2-s", 1)
    assert "dinov2-s.safetensors" in output
    assert (
        "not the weights published as dinov2_vits14_pretrain.pth: scores carry the name"
        f" dinov2-s-{source[:8]}" in output
    )
    listed = otgan("weights", "list").output
    assert [
        line.split()[1] for line in listed.splitlines() if line.strip().startswith("dinov2-s")
    ] == ["yes"]
    assert [
        line.split()[1] for line in listed.splitlines() if line.strip().startswith("resnet50")
    ] == ["no"]


def test_dinov2s_features_are_its_class_token():
    _, source = imported("dinov2-s", 1)
    images = networks.random_images(0, (3, 32, 32, 3))
    features = make_features("dinov2-s", (32, 32, 3))
    found, probabilities = features.look(images)
    expected = networks.TINY_DINO.apply(
        {"params": catalog.find("dinov2-s").parameters}, imagenet.prepare(images)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert probabilities is None
    assert (features.classifies, features.dimension) == (False, 24)
    assert features.names("kid") == f"kid[dinov2-s-{source[:8]}]"
    assert source[:12] in features.digest
    assert features.preparation == "antialiased bicubic to 224 x 224, ImageNet's mean and deviation"
    assert make_features("dinov2-s", (28, 28, 1)).preparation.endswith("gray repeated")


def test_resnet50_knows_classes_if_its_weights_do():
    imported("resnet50", 1)
    features = make_features("resnet50", (32, 32, 3))
    found, probabilities = features.look(networks.random_images(0, (3, 32, 32, 3)))
    assert (features.classifies, features.dimension) == (True, 128)
    assert found.shape == (3, 128)
    assert probabilities.shape == (3, 1, 1000)
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
    state = networks.random_resnet50(TINY_RESNET, 1)
    save_file(
        {f"module.{name}": value for name, value in state.items() if not name.startswith("fc.")},
        "swav.safetensors",
    )
    assert (
        otgan(
            "weights",
            "import",
            "swav.safetensors",
            "--network",
            "resnet50",
            "-o",
            "ours.safetensors",
        ).exit_code
        == 0
    )
    headless = make_features("ours.safetensors", (32, 32, 3))
    assert not headless.classifies
    assert headless.name == f"resnet50-{store.sha256(Path('swav.safetensors'))[:8]}"
    np.testing.assert_array_equal(
        headless.look(networks.random_images(0, (3, 32, 32, 3)))[0], found
    )


def judged(*words):
    done = otgan("eval", "x.npz", "--reference", "sample", "--samples", 100, "--json", *words)
    assert done.exit_code == 0, done.output
    return {line["metric"]: line for line in map(json.loads, done.output.splitlines())}


def test_scores_by_other_weights_never_mix():
    np.savez("x.npz", x=digits.sample()[0][:100])
    _, source = imported("dinov2-s", 1)
    first = judged("--fd", "dinov2-s", "--out", "one")[f"fid[dinov2-s-{source[:8]}]"]
    assert first["protocol"]["weights"] == catalog.identity(catalog.find("dinov2-s"))
    assert first["mean"] > 0
    _, other = imported("dinov2-s", 2)
    second = judged("--features", "dinov2-s", "--fid", "--out", "two")[f"fid[dinov2-s-{other[:8]}]"]
    assert source != other
    assert first["fingerprint"] != second["fingerprint"]
    assert first["mean"] != second["mean"]


def test_fd_is_the_frechet_distance_on_the_features_named():
    np.savez("x.npz", x=digits.sample()[0][:100])
    by_name, by_flags = (
        judged("--fd", "mnist-lenet", "--allow-few"),
        judged("--fid", "--features", "mnist-lenet", "--allow-few"),
    )
    assert {name: line["mean"] for name, line in by_name.items()} == {
        name: line["mean"] for name, line in by_flags.items()
    }
    assert "fid[mnist-lenet]" in by_name
    refused = otgan(
        "eval", "x.npz", "--reference", "sample", "--fd", "dinov2-s", "--features", "inception"
    )
    assert refused.exit_code == 2
    assert "--fd dinov2-s and --features inception name different features" in refused.output


@pytest.mark.parametrize(
    ("name", "shape", "sentence"),
    [
        (
            "dinov2",
            (32, 32, 3),
            "there are no features 'dinov2': choose inception, .*dinov2-s, dinov2-b",
        ),
        ("dinov2-b", (5,), "looks at images; the examples are points"),
        (
            "dinov2-s",
            (32, 32, 2),
            "reads gray images and images in three colors, not of 2 channels",
        ),
    ],
)
def test_what_does_not_fit_is_refused(name, shape, sentence):
    if name == "dinov2-s":
        imported(name, 1)
    with pytest.raises(UserError, match=sentence):
        make_features(name, shape)


def test_weights_that_cannot_be_had_are_explained(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    entry = replace(
        catalog.PUBLISHED["dinov2-b"], address="http://127.0.0.1:9/dinov2_vitb14_pretrain.pth"
    )
    monkeypatch.setitem(catalog.PUBLISHED, "dinov2-b", entry)
    sentence = (
        r"cannot be downloaded .*get dinov2_vitb14_pretrain\.pth by other means .*`otgan weights"
        r" import FILE --network dinov2-b`"
    )
    with pytest.raises(UserError, match=sentence):
        make_features("dinov2-b", (32, 32, 3))


def test_parameters_of_another_network_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    store.write(path, {"norm": {"scale": np.ones(3, np.float32)}}, {"network": "dinov2-s"})
    with pytest.raises(UserError, match="the weights do not fit the network"):
        make_features(str(path), (32, 32, 3))
