"""`otgan doctor` finds what is broken, and says that a sound machine is sound."""

import importlib.metadata

import pytest

from otgan import doctor
from otgan.doctor import Mark
from otgan.errors import UserError
from tests.support.commands import otgan, otgan_alone


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OTGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nothing"))
    return tmp_path / "cache"


@pytest.fixture
def without_run(monkeypatch):
    monkeypatch.setattr(doctor, "_tiny_run", lambda: iter(()))


def found(what):
    return [finding for finding in doctor.examine() if finding.what == what]


@pytest.mark.slow
def test_a_sound_machine_is_sound():
    done = otgan_alone("doctor")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "nothing is wrong"
    assert "fine    a tiny run                40 steps, once resumed" in done.stdout
    assert "WRONG" not in done.stdout
    assert "absent  mnist" in done.stdout


@pytest.mark.usefixtures("without_run")
def test_a_package_that_is_too_old_or_missing_is_wrong(monkeypatch):
    versions = {"ott-jax": "0.5.0", "rich": None}

    def version(name):
        if name not in versions:
            return importlib.metadata.version(name)
        if versions[name] is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(doctor, "version", version)
    [old], [missing] = found("ott-jax"), found("rich")
    assert old.mark is missing.mark is Mark.WRONG
    assert "0.5.0, and otgan needs <0.7,>=0.6" in old.seen
    assert "not installed: pip install 'rich>=" in missing.seen
    done = otgan("doctor")
    assert done.exit_code == 1
    assert done.output.endswith("2 things wrong\n")


@pytest.mark.usefixtures("without_run")
def test_damaged_caches_are_wrong_and_absent_ones_are_not(own_cache):
    assert [finding.mark for finding in found("weights of dinov2-s")] == [Mark.ABSENT]
    (own_cache / "weights").mkdir(parents=True)
    for name in ("dinov2-s", "resnet50"):
        (own_cache / f"weights/{name}.safetensors").write_bytes(b"{")
    (own_cache / "seen.npz").write_bytes(b"PK")
    assert [finding.mark for finding in found("weights of dinov2-s")] == [Mark.WRONG]
    [counted, damaged] = found("cache")
    assert counted.mark is Mark.FINE
    assert damaged.mark is Mark.WRONG
    assert "seen.npz is damaged" in damaged.seen


@pytest.mark.usefixtures("without_run")
def test_a_full_disk_is_wrong(monkeypatch):
    usage = doctor.shutil.disk_usage("/")._replace(free=1 << 20)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: usage)
    [here] = found("here")
    assert here.mark is Mark.WRONG
    assert "0.0 GiB free" in here.seen


@pytest.mark.usefixtures("without_run")
def test_coarse_products_are_said_and_wrong_only_where_a_certificate_needs_them(monkeypatch):
    import jax
    import jax.numpy as jnp

    exactly = jnp.matmul

    def coarse(a, b, precision):
        if precision in where:
            a, b = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
        return exactly(a, b).astype(jnp.float32)

    monkeypatch.setattr(jnp, "matmul", coarse)
    where = [jax.lax.Precision.DEFAULT]
    assert "coarse" in found("products of networks")[0].seen
    assert found("products of certificates")[0].mark is Mark.FINE
    where.append(jax.lax.Precision.HIGHEST)
    assert found("products of certificates")[0].mark is Mark.WRONG


def test_what_breaks_a_check_hides_no_other(monkeypatch):
    def breaks(*_, **__):
        raise UserError("no such luck")

    monkeypatch.setattr(doctor, "train", breaks)
    monkeypatch.setattr(doctor.catalog, "listing", breaks)
    findings = list(doctor.examine())
    wrong = [finding for finding in findings if finding.mark is Mark.WRONG]
    assert [finding.what for finding in wrong] == ["data", "a tiny run"]
    assert "no such luck" in wrong[0].seen
