"""The flow file's JSON schema (draft 2020-12) for editors, from the same annotations that decode.py reads.

What a member means stands below it in its class (meanings.py), what a mapping is in the first paragraph of its docstring.
What an editor cannot know (names that are referred to, secrets that exist, members that exclude each other) is left to
`otelprobe validate`.
"""

import inspect
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from otelprobe.config.decode import Plan, Variant, plan_for
from otelprobe.config.meanings import meanings
from otelprobe.config.models import FlowFile
from otelprobe.fields import Scalar, SecretRef

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PLAIN: Mapping[Any, dict[str, object]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    object: {},
    type(None): {"type": "null"},
}


def flow_file_schema() -> dict[str, object]:
    """Give the schema of a flow file."""
    definitions: dict[str, dict[str, object]] = {}
    top = _object(plan_for(FlowFile), definitions)
    top["patternProperties"] = {"^x-": {"description": "A place for YAML anchors; otelprobe does not read it."}}
    return {"$schema": _DIALECT, "title": "otelprobe flow file", **top, "$defs": definitions}


def _of(annotation: Any, definitions: dict[str, dict[str, object]]) -> dict[str, object]:
    """Give the schema of an annotation; dataclasses go to `definitions`."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation in _PLAIN:
        return dict(_PLAIN[annotation])
    if origin is Annotated:
        return _annotated(args[0], args[1:], definitions)
    if origin in {Union, types.UnionType}:
        return {"anyOf": [_of(option, definitions) for option in args]}
    if origin is Literal:
        return {"enum": list(args)}
    if origin is tuple:
        return {"type": "array", "items": _of(args[0], definitions)}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(args[0], args[1], definitions)
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return {"enum": [member.value for member in annotation]}
    return _reference(annotation, definitions)


def _annotated(
    annotation: Any, metadata: tuple[Any, ...], definitions: dict[str, dict[str, object]]
) -> dict[str, object]:
    for note in metadata:
        if isinstance(note, Scalar):
            return dict(note.schema)
        if isinstance(note, Variant):
            return _variant(note, definitions)
    return _of(annotation, definitions)


def _mapping(key: Any, item: Any, definitions: dict[str, dict[str, object]]) -> dict[str, object]:
    schema: dict[str, object] = {"type": "object", "additionalProperties": _of(item, definitions)}
    names = _of(key, definitions)
    if names != {"type": "string"}:
        schema["propertyNames"] = names
    return schema


def _reference(cls: type, definitions: dict[str, dict[str, object]]) -> dict[str, object]:
    if cls.__name__ not in definitions:
        if not is_dataclass(cls):
            raise TypeError(f"no schema for the annotation {cls!r}")
        definitions[cls.__name__] = {}
        definitions[cls.__name__] = _secret() if cls is SecretRef else _object(plan_for(cls), definitions)
    return {"$ref": f"#/$defs/{cls.__name__}"}


def _secret() -> dict[str, object]:
    """Describe a secret: exactly one of its members."""
    text: dict[str, object] = {"type": "string", "minLength": 1}
    said = meanings(SecretRef)
    return {
        "description": "Where a secret is read from: {env: NAME} or {file: PATH}. A literal secret is refused.",
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
        "properties": {f.name: _described(text, said.get(f.name)) for f in fields(SecretRef)},
    }


def _object(plan: Plan, definitions: dict[str, dict[str, object]]) -> dict[str, object]:
    """Describe a dataclass as a mapping, and each of its members."""
    said = meanings(plan.cls)
    sources: dict[str, Field[Any]] = {f.name: f for f in fields(plan.cls)}
    properties: dict[str, dict[str, object]] = {}
    for name, member in plan.members.items():
        schema = _of(member.annotation, definitions)
        if member.blank:
            schema = {"anyOf": [schema, {"type": "null"}]}
        schema = _described(schema, said.get(name))
        default = sources[name].default
        if default is not MISSING and isinstance(default, str | bool) and default != "":
            schema["default"] = default
        properties[name] = schema
    described: dict[str, object] = {
        "type": "object",
        "description": _first_paragraph(plan.cls),
        "properties": properties,
    }
    if plan.required:
        described["required"] = list(plan.required)
    return {**described, "additionalProperties": False}


def _described(schema: dict[str, object], words: str | None) -> dict[str, object]:
    return {**schema, "description": words} if words else schema


def _first_paragraph(cls: type) -> str:
    return " ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split())


def _variant(variant: Variant, definitions: dict[str, dict[str, object]]) -> dict[str, object]:
    """Describe `step: token` and its like: the kind decides which members there are."""
    kinds = list(variant.kinds())
    bare = [kind for kind in kinds if not plan_for(variant.load(kind)).required]
    key = variant.key
    branches: list[dict[str, object]] = []
    for kind in kinds:
        schema = _object(plan_for(variant.load(kind)), definitions)
        properties = schema["properties"]
        if isinstance(properties, dict):
            schema["properties"] = {key: {"const": kind}, **properties}
        definitions[f"{key}.{kind}"] = schema
        condition = {"properties": {key: {"const": kind}}, "required": [key]}
        branches.append({"if": condition, "then": {"$ref": f"#/$defs/{key}.{kind}"}})
    written = {"type": "object", "required": [key], "properties": {key: {"enum": kinds}}, "allOf": branches}
    return {"anyOf": [{"enum": bare}, written]}
