"""The description of the API.

Source: https://spec.openapis.org/oas/v3.1.0
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from agentrail.admin._call import ID, JSON, Nothing, Operation
from agentrail.admin._feed import EVENT_STREAM, AllEventsQuery, EventsQuery
from agentrail.admin._upload import FORM, ZIP
from agentrail.errors import Fault
from agentrail.messages import Wire
from agentrail.secret import NAME

DESCRIPTION: Final = "/api/openapi.json"
"""Where the description is."""

_REF: Final = "#/components/schemas/{name}"
_PATH_PARAMETERS: Final[Mapping[str, Mapping[str, object]]] = {
    "name": {"type": "string", "pattern": ID},
    "token": {"type": "string"},
    "revision": {"type": "integer", "minimum": 1},
    "secret": {"type": "string", "pattern": f"^{NAME.pattern}$"},
}


class Problem(Wire, frozen=True, omit_defaults=False):
    """Why a request was not served; see RFC 9457."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    retryable: bool
    trace_id: str = ""
    faults: Sequence[Fault] = ()
    """Everything that is wrong with a package or with settings that were refused."""


def openapi(operations: Sequence[Operation[Any, Any]], version: str) -> Mapping[str, object]:
    """Return the description of the operations; ``version`` is the host's."""
    types = _types(operations)
    schemas, components = msgspec.json.schema_components(
        types, schema_hook=_anything, ref_template=_REF
    )
    of_type = dict(zip(map(repr, types), schemas, strict=True))
    queries = {each.query.__name__ for each in operations}
    paths: dict[str, dict[str, object]] = {}
    for each in operations:
        query = components.get(each.query.__name__, {})
        paths.setdefault(each.path, {})[each.method.lower()] = {
            "operationId": each.handler.__name__,
            "summary": each.title,
            "x-may": each.may,
            "parameters": [*_path_parameters(each), *_query_parameters(query), *_headers(each)],
            **_body(each, of_type),
            "responses": _answers(each, of_type),
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "agentrail: plugin packages", "version": version},
        "security": [{"bearer": list[str]()}],
        "paths": paths,
        "components": {
            "schemas": {name: made for name, made in components.items() if name not in queries},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _anything(kind: type) -> dict[str, object]:
    if kind is not object:
        raise NotImplementedError
    return {"description": "anything"}


def _types(operations: Sequence[Operation[Any, Any]]) -> Sequence[object]:
    """Return what goes in and out, each once."""
    found: dict[str, object] = {repr(Problem): Problem}
    for each in operations:
        for kind in (each.query, each.body, each.answer):
            if kind is not None:
                found[repr(kind)] = kind
    return list(found.values())


def _path_parameters(operation: Operation[Any, Any]) -> Sequence[Mapping[str, object]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _PATH_PARAMETERS[name]}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]


def _query_parameters(query: Mapping[str, Any]) -> Sequence[Mapping[str, object]]:
    return [
        {
            "name": name,
            "in": "query",
            "description": schema["description"],
            "schema": _given(schema),
        }
        for name, schema in query.get("properties", {}).items()
    ]


def _given(schema: Mapping[str, Any]) -> Mapping[str, object]:
    """Return the schema of a parameter that is there: it is never null."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if kinds:
        (found,) = kinds
        return {key: value for key, value in found.items() if key != "description"}
    return {key: value for key, value in schema.items() if key != "description"}


def _headers(operation: Operation[Any, Any]) -> Sequence[Mapping[str, object]]:
    if not operation.changes or "{name}" not in operation.path:
        return []
    description = "the ETag of the package as it was seen: its revision, in quotes"
    schema = {"type": "string"}
    return [{"name": "If-Match", "in": "header", "description": description, "schema": schema}]


def _body(
    operation: Operation[Any, Any], of_type: Mapping[str, object]
) -> Mapping[str, Mapping[str, object]]:
    content: Mapping[str, object]
    if operation.uploads:
        file = {"type": "string", "contentMediaType": "application/octet-stream"}
        form = {"type": "object", "required": ["file"], "properties": {"file": file}}
        content = {FORM: {"schema": form}, ZIP: {}}
    elif operation.body is Nothing:
        return {}
    else:
        content = {JSON: {"schema": of_type[repr(operation.body)]}}
    required = operation.uploads or _must(operation.body)
    return {"requestBody": {"required": required, "content": content}}


def _must(body: object) -> bool:
    """Tell whether a body has something in it that must be said."""
    try:
        msgspec.convert({}, body)
    except msgspec.ValidationError:
        return True
    return False


def _answers(
    operation: Operation[Any, Any], of_type: Mapping[str, object]
) -> Mapping[str, Mapping[str, object]]:
    problem = {"application/problem+json": {"schema": of_type[repr(Problem)]}}
    answer: dict[str, object] = {"description": operation.title}
    if operation.answer is not None:
        content = {JSON: {"schema": of_type[repr(operation.answer)]}}
        if operation.query in (EventsQuery, AllEventsQuery):
            content[EVENT_STREAM] = {"schema": {"type": "string"}}
        answer["content"] = content
    return {
        str(operation.status): answer,
        "default": {"description": "Why the request was not served.", "content": problem},
    }
