"""What of a config other packages may bring: models of its tables, by the key that chooses one, and
words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from otgan import plugins
from otgan.config.values import Section


def tags(model: type, chooser: str) -> tuple[Any, ...]:
    """The words that choose a model: `sliced` of `family: Literal["sliced"]`."""
    field = model.model_fields.get(chooser) if issubclass(model, Section) else None
    return get_args(field.annotation) if field else ()


def chosen_from(choice: Any, chooser: str) -> dict[str, type[Section]]:
    """The models of a union by the word that chooses each."""
    union = get_args(choice)[0] if get_origin(choice) is Annotated else choice
    return {tag: model for model in get_args(union) for tag in tags(model, chooser)}


@dataclass(frozen=True)
class OrForeign:
    """Annotates a union of models, so that a table may also be one that another package brings.

    And a choice of words likewise.

    Attributes:
        kind: what the packages bring.
        own: the words of the union's own models, which no package can take.
        chooser: the key that says which model a table is; empty where the value is a word.
        base: what their models are subclasses of.
    """

    kind: plugins.Kind
    own: frozenset[str]
    chooser: str = ""
    base: type[Section] = Section

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """What pydantic asks. A table is written by the model that it has."""
        written = core_schema.simple_ser_schema("any")
        return core_schema.no_info_wrap_validator_function(
            self._validate, handler(source), serialization=written
        )

    def model(self, name: Any) -> type[Section] | None:
        """The model that another package brings under a name.

        None of a name that is otgan's own, or nobody's.

        Raises:
            UserError: the package cannot be imported, or brings something else.
        """
        if not self._is_foreign(name):
            return None
        model = getattr(plugins.load(self.kind, name), "config", None)
        if not (
            isinstance(model, type)
            and issubclass(model, self.base)
            and name in tags(model, self.chooser)
        ):
            why = (
                f"its config must be a subclass of {self.base.__name__} with {self.chooser}:"
                f" Literal[{name!r}]"
            )
            raise plugins.refuse(self.kind, name, why)
        return model

    def _is_foreign(self, name: Any) -> bool:
        return isinstance(name, str) and name not in self.own and name in plugins.names(self.kind)

    def _validate(self, raw: Any, handler: Callable[[Any], Any]) -> Any:
        if not self.chooser:
            return raw if self._is_foreign(raw) else handler(raw)
        name = raw.get(self.chooser) if isinstance(raw, dict) else getattr(raw, self.chooser, None)
        model = self.model(name)
        return model.model_validate(raw) if model else handler(raw)
