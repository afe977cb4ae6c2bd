"""Answers that are more than text: the type that a profile wants, checked."""

import re
from typing import Final

import msgspec
from attrs import field, frozen

from agentrail.errors import ConfigError
from agentrail.messages import OutputSpec

_FENCED: Final = re.compile(r"\s*```\w*\n(.*)\n```\s*", re.DOTALL)
_NAME: Final = re.compile(r"[^A-Za-z0-9_-]")


@frozen(slots=True)
class Output:
    """The type of a profile's answers."""

    type: object = field(repr=False)
    spec: OutputSpec

    @classmethod
    def of(cls, wanted: object) -> "Output":
        """Return the output of a type: a dataclass, msgspec Struct, attrs class or TypedDict.

        Raises:
            ConfigError: the type has no JSON Schema, or one that is not of an object.
        """
        name = _NAME.sub("_", getattr(wanted, "__name__", "output"))
        try:
            (schema,), components = msgspec.json.schema_components(
                [wanted], ref_template="#/$defs/{name}"
            )
        except (TypeError, RuntimeError, NameError, AttributeError) as error:
            raise ConfigError(f"{wanted!r} cannot be an output: {error}") from error
        reference = str(schema.get("$ref", ""))
        name_of_own = reference.removeprefix("#/$defs/")
        schema = dict(components.get(name_of_own, schema))
        if schema.get("type") != "object":
            message = f"{wanted!r} cannot be an output: its JSON is no object; put it in a field"
            raise ConfigError(message)
        # It stands at the top; as a component it is needed only where it is a part of itself.
        if f'"{reference}"'.encode() not in msgspec.json.encode((schema, components)):
            components.pop(name_of_own, None)
        if components:
            schema["$defs"] = components
        return cls(wanted, OutputSpec(name=name, parameters=schema))

    def read(self, text: str) -> object:
        """Return the value that a model's answer is.

        Raises:
            ValueError: it is none; the text says what is wrong, and where.
        """
        fenced = _FENCED.fullmatch(text)
        try:
            return msgspec.json.decode(fenced[1] if fenced else text, type=self.type)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(str(error)) from error
