"""From what a user types to a config: named experiments, files, flags and `--set`, with every
mistake told at once.
"""

from __future__ import annotations

import copy
import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from otgan.config import Config, Cost, Effect, marked
from otgan.config.foreign import OrForeign
from otgan.config.values import models
from otgan.errors import UserError
from otgan.measured import with_measured
from otgan.named import elsewhere, find, names
from otgan.plain import TooDeepError, flat, from_json, from_toml, require_path, whole_path

CHOOSERS = ("kind", "family")  # the keys that say which model a table is

Raw = dict[str, Any]


def resolve(
    target: str, overrides: Mapping[str, Any] | None = None, source: str | None = None
) -> Config:
    """The config of a named experiment, or of a TOML or JSON file, with some of its keys changed.

    Args:
        target: an experiment's name, or a path to a `.toml` or a stored `config.json`.
        overrides: new values by dotted key, such as `{"oracle.lam": "0.1x"}`.
        source: where the data come from: "tfds", "sample", or the path of the user's own data.

    Raises:
        UserError: there is no such experiment, its file cannot be read, or its values are wrong;
            all mistakes in one message.
    """
    raw = read(target)
    if source is not None:
        raw["data"] = _data_from(raw.get("data", {}), source)
    for key, value in (overrides or {}).items():
        _put(raw, key, value)
    # then it has its encoder's description, and the run that it is from may be gone
    if Path(target).suffix == ".json":
        return _validated(raw)
    return with_measured(_validated(_with_pretrained_encoder(raw)), _find(target))


def compose(path: Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """The config of a map T after the generator of the run in a folder: that of `convex-map`, on
    the run's data.

    Raises:
        UserError: the run has no generator of its own, or the values are wrong.
    """
    config = resolve(str(path))
    run = str(path.parent.resolve())
    if config.source is not None:
        raise UserError(
            f"{run} has no generator of its own to compose with: it maps a source. Give a run that"
            " trained a generator"
        )
    raw = read("convex-map")
    raw |= config.model_dump(mode="json", include={"data", "generator"})
    raw |= {"name": f"{config.name}-composite", "source": {"kind": "run", "path": run}}
    for key, value in (overrides or {}).items():
        _put(raw, key, value)
    return _validated(raw)


def _validated(raw: Raw) -> Config:
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise UserError(_explain(error, raw)) from None


def _with_pretrained_encoder(raw: Raw) -> Raw:
    """The tables with the encoder whose features they take: that of a run, or a classifier's."""
    cost = raw.get("cost")
    features = cost.get("features") if isinstance(cost, dict) else None
    if features in Cost.TRAINED:
        return {**raw, "cost": {**raw["cost"], "encoder": {"kind": features}}}
    if not isinstance(features, str) or features in Cost.FEATURES:
        return raw
    try:
        layered = Cost(features=features).layered
    except ValidationError:
        return raw  # said with all other mistakes
    if layered:
        return {**raw, "cost": {**raw["cost"], "features": _with_whole_path(features)}}
    path = Path(features).expanduser().resolve()
    if not (path / "config.json").is_file():
        known = (
            f"{', '.join(Cost.FEATURES)}, layers of a network such as mnist-lenet:all, a"
            " .safetensors file, or a run with an encoder"
        )
        raise UserError(f"cost.features: {known}; {features!r} is none")
    pretrained = resolve(str(path / "config.json")).cost
    if not pretrained.encoded:
        raise UserError(
            f"cost.features: the run in {path} has no encoder of its own: its cost is measured on"
            f" {pretrained.features}"
        )
    return {
        **raw,
        "cost": {
            **raw["cost"],
            "features": str(path),
            "encoder": pretrained.encoder.model_dump(mode="json"),
        },
    }


def _with_whole_path(features: str) -> str:
    """Layers of a network, whose file of weights, if it is one, is named from the root."""
    network, colon, layers = features.partition(":")
    return f"{whole_path(network)}{colon}{layers}" if network.endswith(".safetensors") else features


def read(target: str) -> Raw:
    """The plain tables of an experiment, what it extends merged in, but not what that gave."""
    path = _find(target)
    raw = _parse(path)
    raw.setdefault("name", re.sub(r"[^\w.+-]+", "-", path.stem).lstrip("_.+-") or "experiment")
    seen = {path}
    while "extends" in raw:
        base = _find(str(raw.pop("extends")), beside=path.parent)
        if base in seen:
            raise UserError(f"{path}: its chain of `extends` comes back to {base.name}")
        seen.add(base)
        below = _parse(base)
        if isinstance(card := below.get("card"), dict):
            card.pop("measured", None)
        raw = merge(below, raw)
    return raw


def merge(base: Raw, change: Raw) -> Raw:
    """Tables merged key by key; one that chooses another kind than the base's replaces it whole,
    since its keys differ.
    """
    merged = copy.deepcopy(base)
    for key, value in change.items():
        old = merged.get(key)
        if (
            isinstance(old, dict)
            and isinstance(value, dict)
            and all(value.get(c, old.get(c)) == old.get(c) for c in CHOOSERS)
        ):
            merged[key] = merge(old, value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def parse_set(assignment: str) -> tuple[str, Any]:
    """`key=value` of `--set`, the value read as TOML where it is, and as a string otherwise.

    Raises:
        UserError: there is no `=`, or the value is nested too deep.
    """
    key, sign, text = assignment.partition("=")
    if not sign or not key.strip():
        raise UserError(f"--set needs key=value, such as --set batch.size=256, not {assignment!r}")
    try:
        value = from_toml(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    except TooDeepError as error:
        raise UserError(f"--set {key.strip()}: {error}; no value of a config is") from None
    return key.strip(), value


def differences(old: Config, new: Config, free: Iterable[Effect] = ()) -> list[str]:
    """Sentences on the keys whose values differ, by dotted name.

    Those that are marked by an effect in `free` may.
    """
    a, b = flat(old.model_dump(mode="json")), flat(new.model_dump(mode="json"))
    left = (a.keys() | b.keys()) - (marked(Config, *free) if free else set())
    return [
        f"{k} ({a.get(k, 'absent')} there, {b.get(k, 'absent')} now)"
        for k in sorted(left)
        if a.get(k) != b.get(k)
    ]


def _find(target: str, beside: Path | None = None) -> Path:
    if named := find(target):
        return named
    path = (beside or Path()) / _as_path(target)
    if path.suffix in (".toml", ".json") or path.is_file():
        if not path.is_file():
            raise UserError(f"there is no file {path}")
        return path
    known = [*names(), *(experiment.name for experiment in elsewhere())]
    raise UserError(
        f"there is no experiment called {target!r}{_nearest(target, known)}; `otgan list` shows all"
    )


def _parse(path: Path) -> Raw:
    try:
        text = path.read_text(encoding="utf-8")
        raw = from_json(text) if path.suffix == ".json" else from_toml(text)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"cannot read {path}: {str(error).splitlines()[0]}") from None
    if not isinstance(raw, dict):
        raise UserError(f"cannot read {path}: it holds no tables")
    return raw


def _data_from(data: Raw, source: str) -> Raw:
    if source not in ("tfds", "sample"):
        return {"kind": "own", "path": str(Path(_as_path(source)).resolve())}
    if data.get("kind") == "own":
        raise UserError(
            f"--data {source}: this experiment is for data of your own; give a file or a folder"
        )
    if data.get("kind") not in ("mnist", "cifar10", "stacked-mnist"):
        raise UserError(
            f"--data {source} chooses where digits or CIFAR-10 come from; this experiment's data"
            f" are {data.get('kind')!r}"
        )
    return {**data, "source": source}


def _as_path(text: str) -> str:
    try:
        return require_path(text)
    except ValueError as error:
        raise UserError(str(error)) from None


def _put(raw: Raw, dotted: str, value: Any) -> None:
    *tables, last = dotted.split(".")
    for table in tables:
        inner = raw[table] = {} if raw.get(table) is None else raw[table]
        if not isinstance(inner, dict):
            raise UserError(
                f"{dotted}: {table} is a value, not a table{_nearest(table, list(raw))}"
            )
        raw = inner
    raw[last] = value


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _explain(error: ValidationError, raw: Raw) -> str:
    mistakes = [_sentence(dict(e), raw) for e in error.errors()]
    return (
        mistakes[0]
        if len(mistakes) == 1
        else "\n".join([f"{len(mistakes)} mistakes:", *(f"  {m}" for m in mistakes)])
    )


def _sentence(mistake: Raw, raw: Raw) -> str:
    model, where = _place(mistake["loc"], raw)
    if mistake["type"] == "extra_forbidden":
        prefix = where.rpartition(".")[0]
        known = [f"{prefix}.{k}" if prefix else k for k in (model.model_fields if model else [])]
        return f"unknown key {where}{_nearest(where, known)}"
    message = mistake["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    message = message[:1].lower() + message[1:]
    given = mistake.get("input")
    shown = (
        f" (given: {given!r})"
        if isinstance(given, str | int | float | bool) and mistake["type"] != "value_error"
        else ""
    )
    return f"{where}: {message}{shown}" if where else message


def _place(location: tuple[str | int, ...], raw: Any) -> tuple[type[BaseModel] | None, str]:
    """Where a mistake lies: the model that has or lacks the key, and its dotted name, without
    pydantic's tags of unions.
    """
    options: list[type[BaseModel]] = [Config]
    owner: type[BaseModel] | None = Config
    words: list[str] = []
    for part in location:
        tagged = [option for option in options if part in _tags(option)]
        if len(options) > 1 and tagged:
            options = tagged
            continue
        owner = options[0] if options else None
        words.append(str(part))
        field = owner.model_fields.get(str(part)) if owner else None
        raw = raw.get(part) if isinstance(raw, dict) else None
        options = _choices(field, raw) if field else []
    return owner, ".".join(words)


def _choices(field: FieldInfo, raw: Any) -> list[type[BaseModel]]:
    """The models that a table may have.

    Of another package's, which pydantic gives no tag, the one that it has.
    """
    foreign = next((mark for mark in field.metadata if isinstance(mark, OrForeign)), None)
    brought = foreign.model(raw.get(foreign.chooser)) if foreign and isinstance(raw, dict) else None
    return [brought] if brought else models(field.annotation)


def _tags(model: type[BaseModel]) -> list[Any]:
    return [
        tag
        for c in CHOOSERS
        if c in model.model_fields
        for tag in get_args(model.model_fields[c].annotation)
    ]
