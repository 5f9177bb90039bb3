"""Loggers of other packages, to which a run's numbers and pictures also go: Weights & Biases and
MLflow.

Each is an extra, and is imported only where it is asked for. Where numbers go, and whether over the
network at all, is said in the package's own way: by its environment variables and its login. What
fails in a logger ends its part in the run, and never the run.
"""

from __future__ import annotations

import importlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from otgan.config import Config
from otgan.errors import UserError
from otgan.files import number, read_table, table, write_atomically
from otgan.plain import flat
from otgan.runs import CELLS, RunFolder

FLUSH_SECONDS = 5.0  # between two times that numbers are handed over
PROJECT = "otgan"  # where the environment names no other
# without a network a logger is waited for, but not for minutes; the environment may say otherwise
PATIENCE = {
    "WANDB_LOGIN_TIMEOUT": "30",
    "WANDB_INIT_TIMEOUT": "30",
    "WANDB_FINISH_TIMEOUT": "60",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


class Row(NamedTuple):
    """The numbers of a window of steps, as TensorBoard has them."""

    step: int
    scalars: Mapping[str, float]


@runtime_checkable
class Logger(Protocol):
    """A run's entry in another package's records, opened.

    Attributes:
        id: by which it is found again.
    """

    id: str

    def scalars(self, rows: Sequence[Row]) -> None:
        """Take numbers, of later steps than before."""
        ...

    def picture(self, step: int, path: Path) -> None:
        """Take the samples that were drawn after a step."""
        ...

    def close(self, finished: bool) -> None:
        """Take no more for now."""
        ...


class Entry(NamedTuple):
    """What a logger is told of a run when it is opened."""

    name: str
    group: str | None  # the sweep's, of a cell
    folder: Path
    values: dict[str, Any]  # of the config, by dotted key
    id: str | None  # where it has an entry already


def require(names: Iterable[str]) -> None:
    """See that loggers can be imported.

    Raises:
        UserError: one is not installed.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:
            raise UserError(
                f"--logger {name} needs the extra `{name}`: pip install 'otgan[{name}]'"
            ) from None


class Loggers:
    """All that a run asks for, opened for as long as it is at work.

    Of each the folder keeps the id and the last step that was handed over, so that a run which goes
    on does so in the same entry, and hands over no step twice.

    Args:
        folder: of the run.
        config: which names them.
        say: is told what fails.
    """

    def __init__(self, folder: RunFolder, config: Config, say: Callable[[str], None]):
        self._folder, self._config, self._say = folder, config, say
        self._kept = read_table(folder.loggers, []) if folder.loggers.exists() else {}
        self._open: dict[str, Logger] = {}
        self._rows: list[Row] = []
        self._flushed = time.monotonic()
        self._finished = False

    def __enter__(self) -> Loggers:
        for name in self._config.train.loggers:
            self._guarded(name, lambda name=name: self._begin(name))
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._everywhere(lambda logger: logger.close(self._finished))

    def scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Hand over the numbers of a window, soon."""
        if not self._open:
            return
        self._rows.append(Row(step, scalars))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def picture(self, step: int, path: Path) -> None:
        """Hand over the samples of a step."""
        self._flush()
        if path.is_file():
            self._everywhere(lambda logger: logger.picture(step, path))

    def finish(self) -> None:
        """Say that the run is done."""
        self._finished = True

    def _begin(self, name: str) -> None:
        for variable, value in PATIENCE.items():
            os.environ.setdefault(variable, value)
        known = table(self._kept.get(name))
        path = self._folder.path.resolve()
        values = flat(self._config.model_dump(mode="json", exclude={"card"}))
        group = path.parent.parent.name if path.parent.name == CELLS else None
        opened = OPEN[name](Entry(path.name, group, path, values, known.get("id")))
        self._kept[name] = {**known, "id": opened.id}
        self._keep()
        self._open[name] = opened

    def _flush(self) -> None:
        rows, self._rows, self._flushed = self._rows, [], time.monotonic()
        for name, logger in [*self._open.items()]:
            sent = number(table(self._kept[name]).get("sent")) or 0
            new = [row for row in rows if row.step > sent]
            if new:
                # first: who is killed in between had rather lack a step than repeat it
                self._kept[name] = {"id": logger.id, "sent": new[-1].step}
                self._keep()
                self._guarded(name, lambda logger=logger, new=new: logger.scalars(new))

    def _everywhere(self, act: Callable[[Logger], None]) -> None:
        for name, logger in [*self._open.items()]:
            self._guarded(name, lambda logger=logger: act(logger))

    def _guarded(self, name: str, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # whatever it is: other packages fail in their own ways
            self._open.pop(name, None)
            why = (str(error).strip() or type(error).__name__).splitlines()[0]
            self._say(
                f"--logger {name} failed and is left out from here on: {why}. All numbers are in"
                f" {self._folder.metrics}"
            )

    def _keep(self) -> None:
        write_atomically(self._folder.loggers, json.dumps(self._kept, indent=2) + "\n")


class Wandb:
    """An entry of Weights & Biases. `WANDB_MODE=offline` keeps it in the run's folder."""

    def __init__(self, entry: Entry):
        self._wandb = importlib.import_module("wandb")
        self.id = entry.id or uuid.uuid4().hex[:12]
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=self.id,
            name=entry.name,
            group=entry.group,
            dir=str(entry.folder),
            resume="allow",
        )
        self._run.config.update(entry.values, allow_val_change=True)

    def scalars(self, rows: Sequence[Row]) -> None:
        """Take numbers."""
        for row in rows:
            self._run.log(dict(row.scalars), step=row.step)

    def picture(self, step: int, path: Path) -> None:
        """Take samples."""
        self._run.log({"samples": self._wandb.Image(str(path))}, step=step)

    def close(self, finished: bool) -> None:
        """Take no more for now."""
        self._run.finish(exit_code=int(not finished))


class Mlflow:
    """An entry of MLflow, at `MLFLOW_TRACKING_URI` or where MLflow keeps its own."""

    MOST_METRICS, MOST_PARAMETERS = 1000, 100  # that a server takes at once

    def __init__(self, entry: Entry):
        self._mlflow = importlib.import_module("mlflow")
        self._client = self._mlflow.MlflowClient()
        self.id = entry.id or self._new(entry)
        self._client.update_run(self.id, status="RUNNING")

    def _new(self, entry: Entry) -> str:
        entities = self._mlflow.entities
        tags = {"group": entry.group} if entry.group else {}
        run = self._client.create_run(self._experiment(), run_name=entry.name, tags=tags)
        values = [entities.Param(key, str(value)) for key, value in entry.values.items()]
        for some in _parts(values, self.MOST_PARAMETERS):
            self._client.log_batch(run.info.run_id, params=some)
        return run.info.run_id

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return self._client.create_experiment(name)
            except self._mlflow.MlflowException:  # another process did, since a moment ago
                found = self._client.get_experiment_by_name(name)
        return found.experiment_id

    def scalars(self, rows: Sequence[Row]) -> None:
        """Take numbers."""
        now, metric = int(1000 * time.time()), self._mlflow.entities.Metric
        metrics = [
            metric(name, value, now, row.step)
            for row in rows
            for name, value in row.scalars.items()
        ]
        for some in _parts(metrics, self.MOST_METRICS):
            self._client.log_batch(self.id, metrics=some)

    def picture(self, step: int, path: Path) -> None:
        """Take samples; their file is named by the step."""
        del step
        self._client.log_artifact(self.id, str(path), "samples")

    def close(self, finished: bool) -> None:
        """Take no more for now."""
        self._client.set_terminated(self.id, "FINISHED" if finished else "KILLED")


OPEN: dict[str, Callable[[Entry], Logger]] = {"wandb": Wandb, "mlflow": Mlflow}


def _parts(items: list[Any], size: int) -> Iterable[list[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))
