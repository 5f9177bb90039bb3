"""Whatever is typed, written into a config, or done to a folder's files ends in success, or in a
sentence and exit code 2: never in a traceback, and nothing is written elsewhere.

`OTGAN_FUZZ=10` tries ten times as many inputs, other ones each time.
"""

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otgan import experiments
from otgan.cli.group import COMMANDS as NAMED
from otgan.cli.group import load, main
from otgan.config import Config
from otgan.errors import UserError
from otgan.plain import flat
from tests.support import REPOSITORY
from tests.support.commands import otgan

pytestmark = pytest.mark.slow

MORE = int(os.environ.get("OTGAN_FUZZ", "0"))
FOLDERS = REPOSITORY / "tests/fixtures/folders"
NAMES = sorted(path.stem for path in (REPOSITORY / "experiments").glob("*.toml"))


def tried(count):
    """So many examples: the same ones in every run, unless more are asked for."""
    return settings(
        max_examples=count * max(1, MORE),
        derandomize=not MORE,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


# --- what is nasty --------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        "", " ", "x", "1x", "-1x", "nanx", "infx", "1e999x", "0.1s", "nan", "inf", "-inf", "1e400",
        "0", "-0.0", "1_000", "0x10", "٣", "½", "True", "null", "None", "{}", "[]", "[[", "'", '"',
        "a\nb", "a\x00b", "\ufeff", "\ud7ff", "🙂" * 50, "../..", "/", "~", "~nobody", "/dev/null",
        "/dev/zero", "--help", "-", "--", "name.with.dots", "%s%n", "${HOME}", "$(id)",
        "[red]x[/red]", "<b>",
        "9" * 400, "random:", ":", "random:pixels/0", "random:conv_0@-1", "mnist-lenet:first/7+",
        "random:pixels+pixels", "x" * 5_000, "runs/none", "0.3,0.3", ",", "1,", "1;2", "=",
    ]
)  # fmt: skip
NUMBERS = st.one_of(
    st.sampled_from([0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 1e-320, 1e308, -0.0]),
    st.floats(),
    st.integers(),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, WORDS, st.text(max_size=20))
VALUES = st.one_of(
    SCALARS,
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
        max_leaves=8,
    ),
)


def keys(name):
    """Every key that the config of an experiment has, and some that none has."""
    known = [*flat(experiments.resolve(name).model_dump(mode="json"))]
    return [*known, *{key.rpartition(".")[0] for key in known if "." in key}, "nonsense", "a.b.c"]


KEYS = {name: keys(name) for name in NAMES}
CHANGES = st.sampled_from(NAMES).flatmap(
    lambda name: st.tuples(
        st.just(name), st.dictionaries(st.sampled_from(KEYS[name]), VALUES, min_size=1, max_size=3)
    )
)


def edited(text, edits):
    """A text of which pieces are cut out, doubled, or replaced."""
    for where, length, what in edits:
        start = int(where * len(text))
        text = text[:start] + what + text[start + length :]
    return text


EDITS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 30),
        st.one_of(st.just(""), WORDS, st.text(max_size=5), st.just("[" * 300), st.just("= = =")),
    ),
    min_size=1,
    max_size=3,
)


# --- configs --------------------------------------------------------------------------------------


@tried(3_000)
@given(CHANGES)
def test_a_config_is_refused_in_words_or_reads_back_as_it_is(change):
    name, changes = change
    try:
        config = experiments.resolve(name, changes)
    except UserError:
        return
    again = Config.model_validate_json(config.json())
    assert again == config
    assert again.identity() == config.identity()


@tried(1_000)
@given(st.sampled_from(NAMES), EDITS, st.sampled_from([".toml", ".json"]))
def test_a_file_of_a_config_is_refused_in_words_or_read(tmp_path_factory, name, edits, suffix):
    path = tmp_path_factory.getbasetemp() / f"edited{suffix}"
    whole = (REPOSITORY / f"experiments/{name}.toml").read_text()
    if suffix == ".json":
        whole = experiments.resolve(name).json()
    path.write_text(edited(whole, edits), errors="surrogatepass")
    try:
        config = experiments.resolve(str(path))
    except UserError:
        return
    assert Config.model_validate_json(config.json()) == config


# --- command lines --------------------------------------------------------------------------------

# what computes for long, or asks the network, where its words are sound
SPARED = {"doctor", "data prepare", "data verify", "weights fetch", "weights import"}


def commands(group, before=()):
    """Every command with its options."""
    for name, command in group.commands.items():
        words = (*before, name)
        if hasattr(command, "commands"):
            yield from commands(command, words)
        elif " ".join(words) not in SPARED:
            yield words, [option for p in command.params for option in p.opts if option[0] == "-"]


load(NAMED)
COMMANDS = list(commands(main))


@st.composite
def lines(draw):
    """A command line that trains nothing: what is sound in it is only looked at."""
    words, options = draw(st.sampled_from(COMMANDS))
    line = [*words, *draw(st.lists(st.sampled_from(NAMES) | WORDS, max_size=2))]
    for option in draw(st.lists(st.sampled_from(options or ["--help"]), max_size=3)):
        line += [option, draw(WORDS | NUMBERS.map(str))]
    return [*line, *(["--dry-run"] if "--dry-run" in options else [])]


@tried(1_200)
@given(lines())
def test_a_command_line_ends_in_success_or_a_sentence(tmp_path_factory, line):
    place = tmp_path_factory.getbasetemp() / "lines"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    before = Path.cwd()
    os.chdir(place)
    try:
        done = otgan(*line)
    finally:
        os.chdir(before)
    assert done.exception is None or isinstance(done.exception, SystemExit), line
    assert done.exit_code in (0, 2), (line, done.output)
    assert done.exit_code == 0 or "Error: " in done.output


# --- files of folders -----------------------------------------------------------------------------

FILES = sorted(
    path.relative_to(FOLDERS)
    for path in FOLDERS.rglob("*")
    if path.suffix in (".json", ".jsonl") and path.parent != FOLDERS
)


def nulled(text, draw):
    """JSON of which one value, at any depth, is another."""
    lines_ = text.splitlines() if text.count("\n{") else [text]
    at = draw(st.integers(0, len(lines_) - 1))
    tree = json.loads(lines_[at])
    place = tree
    while isinstance(place, dict | list) and len(place):
        key = draw(st.sampled_from([*place] if isinstance(place, dict) else [*range(len(place))]))
        if not isinstance(place[key], dict | list) or draw(st.booleans()):
            place[key] = draw(st.sampled_from([None, [], {}, "", "x", -1, 1e308, True, "9" * 400]))
            break
        place = place[key]
    lines_[at] = json.dumps(tree)
    return "\n".join(lines_)


@st.composite
def damages(draw):
    """A file, and what becomes of it: None is a folder."""
    path = draw(st.sampled_from(FILES))
    text = (FOLDERS / path).read_text()
    kind = draw(st.sampled_from(["value", "value", "value", "edit", "cut", "empty", "folder"]))
    return path, {
        "value": lambda: nulled(text, draw),
        "edit": lambda: edited(text, draw(EDITS)),
        "cut": lambda: text[: draw(st.integers(0, len(text)))],
        "empty": lambda: "",
        "folder": lambda: None,
    }[kind]()


READERS = [
    ("report", "{}", "--json"),
    ("report", "{}", "--csv"),
    ("report", "{}", "-o", "page.html"),
    ("scores", "{}", "--json"),
    ("run", "{}"),
    ("sample", "{}", "-n", "4", "-o", "samples.npz"),
    ("eval", "{}", "--modes"),
    ("diagnose", "{}"),
    ("show", "{}/config.json"),
]


@tried(400)
@given(damages(), st.sampled_from(READERS))
def test_a_folder_with_a_damaged_file_is_read_or_refused_in_words(tmp_path_factory, damage, reader):
    path, content = damage
    place = tmp_path_factory.getbasetemp() / "damaged"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(FOLDERS / path.parts[0], place / path.parts[0])
    target = place / path
    target.unlink()
    if content is None:
        target.mkdir()
    else:
        target.write_text(content, errors="surrogatepass")
    before = Path.cwd()
    os.chdir(place)
    try:
        done = otgan(*(word.format(path.parts[0]) for word in reader))
    finally:
        os.chdir(before)
    assert done.exception is None or isinstance(done.exception, SystemExit), (path, content)
    assert done.exit_code in (0, 2), (path, content, done.output)
    assert done.exit_code == 0 or "Error: " in done.output
    allowed = {path.parts[0], "page.html", "samples.npz"}
    assert {one.name for one in place.iterdir()} <= allowed
