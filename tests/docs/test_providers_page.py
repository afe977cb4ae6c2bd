"""The page about model providers says what the code says."""

import re
from importlib import import_module

import attrs
import pytest

from agentrail import errors
from agentrail.model import _breaker, _fallback, _http, _sse, default_providers
from agentrail.model import _upstream_errors as upstream
from agentrail.model.anthropic import Anthropic
from agentrail.model.openai import OpenAICompatible, OpenAIResponses
from tests.docs.pages import ROOT, rows, tables

PAGE = "reference/providers.md"


def test_every_default_provider_is_listed_with_its_class() -> None:
    listed = rows(PAGE, "provider")

    assert list(listed) == [provider.name for provider in default_providers()]
    for name, row in listed.items():
        module, _, kind = row["class"].strip("`").rpartition(".")
        assert getattr(import_module(module), kind)().name == name


@pytest.mark.parametrize("kind", [OpenAICompatible, OpenAIResponses, Anthropic])
def test_the_address_and_key_of_a_provider_are_those_that_it_takes(
    kind: type[OpenAICompatible], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = rows(PAGE, "provider")[kind().name]
    key, variable, default = [
        row[at].strip("`") for at in ("key", "base URL", "base URL by default")
    ]
    source = (ROOT / f"{kind.__module__.replace('.', '/')}.py").read_text("utf-8")

    assert f'"{key}"' in source
    assert f'"{variable}"' in source
    assert f'"{default}"' in source


def test_every_argument_is_listed_with_its_default() -> None:
    listed = {name: row["default"] for name, row in rows(PAGE, "argument").items()}
    fields = {field.name: field.default for field in attrs.fields(OpenAICompatible) if field.init}

    assert listed.keys() == fields.keys()
    for name, default in fields.items():
        if name != "name":
            factory = getattr(default, "factory", lambda made=default: made)
            assert listed[name] == f"`{factory()!r}`"


def test_every_error_is_listed_with_what_an_upstream_calls_it() -> None:
    listed = {
        name: re.findall(r"`(\w+)`", row["named"]) for name, row in rows(PAGE, "error").items()
    }
    known = {kind.__name__: list(words) for kind, words in upstream._WORDS.items()}
    del known["ReasoningRefused"]  # which nobody sees

    assert {name: words for name, words in listed.items() if words} == known


def test_every_error_is_listed_with_its_statuses() -> None:
    listed = {
        int(status): name
        for name, row in rows(PAGE, "error").items()
        for status in re.findall(r"\b\d{3}\b(?! and above)", row["status"])
    }

    assert listed == {status: kind.__name__ for status, kind in upstream._BY_STATUS.items()}


def test_what_becomes_of_an_error_is_listed() -> None:
    for name, row in rows(PAGE, "error").items():
        kind: type[errors.ModelError] = getattr(errors, name)
        assert row["asked again by `retry`"] == yes(kind.retryable)
        assert row["next fallback"] == yes(
            kind.retryable or issubclass(kind, _fallback._OF_THE_MODEL)
        )
        assert row["counts for the breaker"] == yes(
            issubclass(kind, _breaker._FAULTS) and kind is not errors.CircuitOpen
        )


def yes(value: object) -> str:
    return "yes" if value else "no"


def test_the_numbers_are_those_of_the_code() -> None:
    breaker, connections = tables(PAGE)[-2:]

    assert [number(row) for row in breaker] == [
        _breaker.FAILURES,
        _breaker.PAUSE_SECONDS,
        1,
        _breaker.TRIAL_SECONDS,
        _breaker.LONGEST_SECONDS,
    ]
    assert [number(row) for row in connections] == [
        _http.CONNECT_SECONDS,
        _http.SEND_SECONDS,
        OpenAICompatible().read_seconds,
        _http.LIMITS.max_connections,
        _sse.DEFAULT_LIMIT >> 20,
    ]
    assert f"of which {_http.LIMITS.max_keepalive_connections} " in connections[3]["meaning"]


def number(row: dict[str, str]) -> float:
    return float(row["number"].split()[0])
