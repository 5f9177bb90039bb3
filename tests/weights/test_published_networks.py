"""Import, download and identity of DINOv2's and ResNet-50's weights, with tiny networks of seeded
random weights in their place.
"""

import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from otgan.errors import UserError
from otgan.files import LOCK
from otgan.models.dinov2 import NETWORKS
from otgan.models.resnet50 import ResNet50
from otgan.weights import catalog, dinov2, published, resnet50, store
from tests.support import REPOSITORY
from tests.support.compared import networks
from tests.support.saved import save

RESNET = replace(resnet50.PUBLISHED, convert=partial(resnet50.convert, module=networks.TINY_RESNET))


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    monkeypatch.setitem(NETWORKS, "dinov2-s", networks.TINY_DINO)
    monkeypatch.setitem(catalog.PUBLISHED, "resnet50", RESNET)
    monkeypatch.setenv("OTGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def dino_state():
    return networks.random_dinov2(networks.TINY_DINO, 1)


@pytest.fixture
def resnet_state():
    return networks.random_resnet50(networks.TINY_RESNET, 1)


def converted(state):
    return resnet50.convert(state, networks.TINY_RESNET)


def assert_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_parameters_are_those_of_the_networks(dino_state, resnet_state):
    images = jnp.zeros((1, 56, 56, 3))
    for module, parameters in (
        (networks.TINY_DINO, dinov2.convert(dino_state, "dinov2-s")),
        (networks.TINY_RESNET, converted(resnet_state)),
    ):
        expected = jax.eval_shape(module.init, jax.random.key(0), images)["params"]
        assert jax.tree.map(np.shape, parameters) == jax.tree.map(np.shape, expected)
        assert {leaf.dtype for leaf in jax.tree.leaves(parameters)} == {np.dtype(np.float32)}


def test_the_published_files_arrays_are_known_by_name_and_shape():
    """As the official listings have them."""
    shapes = dinov2.expected_shapes(NETWORKS["dinov2-b"])
    assert len(shapes) == 4 + 12 * 14 + 2
    assert shapes["pos_embed"] == (1, 1370, 768)
    assert shapes["blocks.11.attn.qkv.weight"] == (2304, 768)
    assert shapes["blocks.0.mlp.fc2.weight"] == (768, 3072)
    shapes = resnet50.expected_shapes(ResNet50())
    assert len(shapes) == 53 * 5
    assert shapes["layer1.0.downsample.0.weight"] == (256, 64, 1, 1)
    assert shapes["layer4.0.conv2.weight"] == (512, 512, 3, 3)
    assert shapes["layer4.2.bn3.running_var"] == (2048,)


def test_the_learned_scales_are_part_of_the_layers_before_them(dino_state):
    block = dinov2.convert(dino_state, "dinov2-s")["block_2"]
    scale = dino_state["blocks.1.ls2.gamma"]
    np.testing.assert_allclose(
        block["fc2"]["kernel"], dino_state["blocks.1.mlp.fc2.weight"].T * scale, rtol=1e-6
    )
    np.testing.assert_allclose(
        block["fc2"]["bias"], dino_state["blocks.1.mlp.fc2.bias"] * scale, rtol=1e-6
    )
    np.testing.assert_array_equal(block["fc1"]["kernel"], dino_state["blocks.1.mlp.fc1.weight"].T)


def test_the_token_of_training_may_be_there_or_not(dino_state):
    with_token = dino_state | {"mask_token": np.zeros((1, 24), np.float32)}
    assert_equal(dinov2.convert(with_token, "dinov2-s"), dinov2.convert(dino_state, "dinov2-s"))


def without(state, *starts):
    return {name: value for name, value in state.items() if not name.startswith(starts)}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda s: without(s, "blocks.1.ls1"),
            (
                r"dinov2-s without registers: they lack blocks\.1\.ls1\.gamma; give the file"
                r" dinov2_vits14"
            ),
        ),
        (lambda s: s | {"register_tokens": np.zeros((1, 4, 24))}, "have besides register_tokens"),
        (lambda s: s | {"pos_embed": np.zeros((1, 257, 24))}, "have in another shape pos_embed"),
        (
            lambda s: {},
            (
                r"lack blocks\.0\.attn\.proj\.bias, blocks\.0\.attn\.proj\.weight,"
                r" blocks\.0\.attn\.qkv\.bias and 31 more"
            ),
        ),
    ],
    ids=["missing", "unexpected", "shape", "empty"],
)
def test_dinov2s_arrays_that_do_not_fit_are_named(dino_state, change, sentence):
    with pytest.raises(UserError, match=sentence):
        dinov2.convert(change(dino_state), "dinov2-s")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda s: without(s, "layer2.1.bn2.weight"),
            r"ResNet-50: they lack layer2\.1\.bn2\.weight; give the file resnet50-0676ba61\.pth",
        ),
        (lambda s: s | {"layer1.0.se.weight": np.zeros(3)}, r"have besides layer1\.0\.se\.weight"),
        (
            lambda s: s | {"conv1.weight": np.zeros((4, 1, 7, 7))},
            r"have in another shape conv1\.weight",
        ),
    ],
    ids=["missing", "unexpected", "shape"],
)
def test_resnet50s_arrays_that_do_not_fit_are_named(resnet_state, change, sentence):
    with pytest.raises(UserError, match=sentence):
        converted(change(resnet_state))


def with_prefix(state, prefix):
    return {f"{prefix}{name}": value for name, value in state.items()}


def test_self_supervised_files_give_the_network_without_a_classifier(resnet_state):
    bare = without(resnet_state, "fc.")
    expected = without(converted(resnet_state), "fc")
    moco = with_prefix(
        bare | {"fc.0.weight": np.zeros((128, 128)), "fc.2.weight": np.zeros((16, 128))},
        "module.encoder_q.",
    )
    moco |= with_prefix(bare, "module.encoder_k.") | {"module.queue": np.zeros((128, 65536))}
    swav = with_prefix(
        bare
        | {
            "projection_head.0.weight": np.zeros((8, 128)),
            "prototypes.weight": np.zeros((30, 8)),
        },
        "module.",
    )
    # a projection of as many outputs, no classifier
    narrow = bare | {"fc.weight": np.zeros((128, 128)), "fc.bias": np.zeros(128)}
    for state in (bare, moco, swav, narrow):
        assert_equal(converted(state), expected)
    assert "fc" in converted(with_prefix(resnet_state, "module."))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_import_keeps_the_hash_of_what_was_imported(dino_state, tmp_path, suffix):
    file = tmp_path / f"weights.{suffix}"
    save(file, dino_state) if suffix == "pth" else save_file(dino_state, file)
    place, found = catalog.import_network(file, "dinov2-s", None)
    assert place == tmp_path / "cache/weights/dinov2-s.safetensors"
    assert found.facts == {"network": "dinov2-s", "source_sha256": store.sha256(file)}
    assert_equal(found.parameters, dinov2.convert(dino_state, "dinov2-s"))
    assert catalog.find("dinov2-s").digest == found.digest
    assert catalog.scored_name(found) == f"dinov2-s-{store.sha256(file)[:8]}"
    assert catalog.identity(found) == f"{found.digest[:12]}, from {store.sha256(file)[:12]}"


def test_only_the_published_weights_have_the_plain_name():
    entry = catalog.IMAGENET["resnet50"]
    parts = {}, {"network": "resnet50", "source_sha256": entry.digest}, "0" * 64
    assert catalog.scored_name(store.Weights(*parts)) == "resnet50"
    assert (
        catalog.scored_name(store.Weights({}, {"network": "resnet50"}, "12345678" * 8))
        == "resnet50-12345678"
    )


def test_import_refuses_what_is_not_there_or_holds_something_else(tmp_path):
    out = tmp_path / "out.safetensors"
    with pytest.raises(UserError, match=r"cannot be read .*give the file resnet50-0676ba61\.pth"):
        catalog.import_network(tmp_path / "nowhere.pth", "resnet50", out)
    with pytest.raises(UserError, match=r"they lack bn1\.bias"):
        catalog.import_network(REPOSITORY / "tests/fixtures/checkpoint_zip.pth", "resnet50", out)
    (tmp_path / "text.safetensors").write_text("nothing of the kind")
    with pytest.raises(UserError, match="holds no weights that can be read"):
        catalog.import_network(tmp_path / "text.safetensors", "dinov2-s", out)
    with pytest.raises(UserError, match="not the published pt_inception"):
        catalog.import_network(REPOSITORY / "tests/fixtures/state_zip.pth", "inception", out)
    assert not out.exists()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_find_takes_the_published_file_alone(dino_state, tmp_path):
    (tmp_path / "served").mkdir()
    file = tmp_path / "served/weights.pth"
    save(file, dino_state)
    entry = dinov2.PUBLISHED["dinov2-s"]
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=file.parent)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}/weights.pth"
        with pytest.raises(
            UserError,
            match=r"begins with .*, not b938bf1b.*`otgan weights import FILE --network dinov2-s`",
        ):
            published.find(entry, tmp_path / "cache", address=address)
        assert [path.name for path in (tmp_path / "cache").iterdir()] == [LOCK]
        found = published.find(
            entry, tmp_path / "cache", address=address, digest=store.sha256(file)
        )
        server.shutdown()
        thread.join()
    assert_equal(found.parameters, dinov2.convert(dino_state, "dinov2-s"))
    names = {path.name for path in (tmp_path / "cache").iterdir()}
    assert names == {LOCK, "dinov2-s.safetensors"}
    with pytest.raises(UserError, match="the weights of dinov2-b are not in"):
        published.find(dinov2.PUBLISHED["dinov2-b"], tmp_path / "cache", download=False)


def test_addresses_and_hashes_are_whole():
    for name, entry in catalog.PUBLISHED.items():
        assert entry.network == name
        assert entry.address.startswith("https://")
        assert entry.address.endswith(entry.file)
        assert len(bytes.fromhex(entry.digest)) == 32
    assert (
        catalog.PUBLISHED["dinov2-b"].address
        == "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth"
    )
    assert f"-{resnet50.DIGEST[:8]}.pth" in resnet50.NAME  # PyTorch puts the first digits there
