"""Targets: what is to be patched, what it is, and where in its arguments the model, version and input are.

What belongs here: the value objects, and reading values out of the arguments of a call. What does not: where they are
configured (`config.py`), finding the function (`spots.py`), what is done with it (`advice.py`).
"""

from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from retention_pipelines.errors import IntegrationError
from retention_pipelines.integration.places import ABSENT

TargetKind = Literal["features", "prediction", "training", "retraining", "study"]
_MODEL_KINDS = ("prediction", "training", "retraining")


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Paths = Annotated[tuple[str, ...], BeforeValidator(_as_list)]


class Named(BaseModel):
    """A text that is fixed (`value`) or an argument of the call (`argument`, a path such as `request.model_type`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: str | None = Field(default=None, min_length=1)
    argument: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_of_both(self) -> "Named":
        if (self.value is None) == (self.argument is None):
            raise ValueError("give either `value` or `argument`")
        return self

    def read(self, bound: Mapping[str, Any]) -> str:
        """The text, for these arguments."""
        if self.value is not None:
            return self.value
        found = value_at(self.argument or "", bound)
        if found is ABSENT or found is None:
            raise IntegrationError(f"There is nothing at {self.argument!r} in this call.", hint="Correct the mapping.")
        return as_text(found)


class Target(BaseModel):
    """One function or method to patch; the keys of the YAML file are these fields.

    Attributes:
        target: `pkg.mod:function` or `pkg.mod:Class.method`.
        kind: features, prediction, training (prepares data), retraining (changes a model; always runs), study.
        model: where the model's id is: argument paths of which the first that applies counts, or a fixed `{value: …}`.
        version: path of the model's version; unset: the registered one. For `retraining` it may begin with `result`.
        model_type: label of the entries; unset: the name of the function.
        feature_type, source_table: for `features`.
        study: for `study`: path of what is handed to `process_new_study`; may begin with `result`.
        only, ignore: arguments that matter, or that do not; without either all do.
        also: further paths that matter, such as `self.config.seed`; where there is nothing, that is what matters.
        receiver: state: what `self` holds decides results and is part of the key; class: only its class is.
        ttl_hours: life of answers; unset: that of the kind.
        cell_deg: predictions are shared within a cell of so many degrees.
        aliases: patch: names elsewhere are patched, too, or all is refused; ignore: only at its own name.
        optional: passed over where it does not exist.
        load: import the module; otherwise the target waits until somebody does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str
    kind: TargetKind
    model: Paths | Named = ()
    version: str | None = None
    model_type: str | None = None
    feature_type: Named | None = None
    source_table: Named = Named(value="unknown")
    study: str = "result"
    only: Paths = ()
    ignore: Paths = ()
    also: Paths = ()
    receiver: Literal["state", "class"] = "state"
    ttl_hours: float | None = Field(default=None, gt=0)
    cell_deg: float | None = Field(default=None, gt=0)
    aliases: Literal["patch", "ignore"] = "patch"
    optional: bool = False
    load: bool = False

    @field_validator("feature_type", "source_table", mode="before")
    @classmethod
    def _text_is_a_value(cls, value: object) -> object:
        return {"value": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> "Target":
        if self.kind in _MODEL_KINDS and not self.model:
            raise ValueError(f"a {self.kind} needs `model`: where the model's id is, or {{value: its id}}")
        if self.kind == "features" and self.feature_type is None:
            raise ValueError("features need `feature_type`")
        if self.only and self.ignore:
            raise ValueError("give `only` or `ignore`, not both")
        return self

    @property
    def name(self) -> str:
        """The last part: the function's or method's name."""
        return self.target.rpartition(":")[2].rpartition(".")[2]

    def check(self, parameters: Mapping[str, Any], *, open_ended: bool) -> None:
        """Raise IntegrationError if a path begins with an argument the function does not have."""
        named = [*self.only, *self.ignore, *self.also]
        named += [path.argument for path in (self.feature_type, self.source_table) if path and path.argument]
        if self.version is not None:
            named.append(self.version)
        models: tuple[str, ...] = () if isinstance(self.model, Named) else self.model
        known = {*parameters, "result"}
        if open_ended:
            return
        missing = [path for path in named if _head(path) not in known]
        if models and not any(_head(path) in known for path in models):
            missing.append(models[0])
        if missing:
            raise IntegrationError(
                f"{self.target} has no argument {_head(missing[0])!r}.",
                hint=f"It has: {', '.join(parameters) or 'none'}. Correct the mapping of this target.",
            )

    def model_id(self, bound: Mapping[str, Any]) -> str:
        """The model a call is for; raises IntegrationError where the call does not say."""
        if isinstance(self.model, Named):
            return self.model.read(bound)
        for path in self.model:
            found = value_at(path, bound)
            if found is not ABSENT and found is not None:
                return as_text(found)
        raise IntegrationError(
            f"A call of {self.target} does not say for which model.", hint=f"Looked at: {', '.join(self.model)}."
        )


def value_at(path: str, bound: Mapping[str, Any]) -> Any:
    """What is at `argument.attribute_or_key…` in the arguments of a call; ABSENT where there is nothing."""
    value: Any = bound
    for step in path.split("."):
        value = value.get(step, ABSENT) if isinstance(value, Mapping) else getattr(value, step, ABSENT)
        if value is ABSENT:
            break
    return value


def as_text(value: object) -> str:
    """A name as the platform writes it: of an Enum its value."""
    return str(value.value if isinstance(value, Enum) else value)


def _head(path: str) -> str:
    return path.partition(".")[0]
