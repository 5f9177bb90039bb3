"""Text nested so deep that Python's stack would not do: a sentence, wherever it is read."""

import json

import pytest

from otgan import experiments
from otgan.errors import UserError
from otgan.plain import DEEPEST, TooDeepError, comma_separated, from_json, from_toml, with_commas
from otgan.runs import RunFolder
from otgan.sweep.folder import SweepFolder
from tests.support.commands import otgan

DEEP = (60, 500, 20_000)


def brackets(depth):
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("depth", DEEP)
def test_what_is_nested_too_deep_is_no_value(depth):
    for text in (brackets(depth), '{"a":' * depth + "1" + "}" * depth):
        with pytest.raises(TooDeepError, match=f"more than {DEEPEST} deep"):
            from_json(text)
    for text in (
        f"a = {brackets(depth)}",
        ".".join(["a"] * depth) + " = 1",
        f"[{'.'.join(['a'] * depth)}]",
    ):
        with pytest.raises(TooDeepError):
            from_toml(text)


def test_what_is_not_is():
    assert from_json(brackets(DEEPEST)) == json.loads(brackets(DEEPEST))
    assert from_toml("a.b = [[1]]") == {"a": {"b": [[1]]}}


@pytest.mark.parametrize("depth", DEEP)
def test_a_config_nested_too_deep_is_one_sentence(tmp_path, depth):
    for name, text in (
        ("a.toml", f"x = {brackets(depth)}"),
        ("b.json", f'{{"x": {brackets(depth)}}}'),
    ):
        (tmp_path / name).write_text(text)
        done = otgan("run", tmp_path / name)
        assert done.exit_code == 2
        assert (
            done.output
            == f"Error: cannot read {tmp_path / name}: its values are nested more than 50 deep\n"
        )
    for words in (("run", "sinkhorn-grid", "--dry-run"), ("sweep", "sinkhorn-grid", "--dry-run")):
        done = otgan(
            *words,
            "--set",
            (
                f"batch.size=8,{brackets(depth)}"
                if words[0] == "sweep"
                else f"batch.size={brackets(depth)}"
            ),
        )
        assert done.exit_code == 2
        assert "--set batch.size: its values are nested more than 50 deep" in done.output


@pytest.mark.parametrize("depth", DEEP)
def test_records_nested_too_deep_are_as_good_as_none(tmp_path, depth):
    folder = RunFolder(tmp_path)
    for name in ("config.json", "environment.json", "status.json", "sweep.json"):
        (tmp_path / name).write_text(f'{{"state": {brackets(depth)}}}')
    for read in (folder.read_config, folder.read_environment, SweepFolder(tmp_path).read):
        with pytest.raises(UserError):
            read()
    assert folder.read_status() == {}
    with pytest.raises(UserError, match="cannot read"):
        experiments.resolve(str(folder.config_path))


@pytest.mark.parametrize("words", [["a"], ["a,b", 'c "d"', "e f"], ["a\nb", "c\rd", "e\r\nf"]])
def test_a_list_is_read_as_it_is_written(words):
    assert comma_separated(with_commas(words)) == words
