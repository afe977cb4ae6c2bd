"""What a field of an application's parts may not hold: said at once, with its profile and name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from starlette.requests import Request
from starlette.responses import Response

from agentrail import (
    AppConfig,
    BearerTokens,
    Host,
    Limits,
    MemorySessionStore,
    Profile,
    RequestContext,
    RequestLimits,
    Route,
    ScriptedModel,
    create_app,
    middleware,
    tool,
)
from agentrail.agent import Prices
from agentrail.errors import CompositionError, ConfigError
from agentrail.messages import Message
from agentrail.requests import ModelReply
from agentrail.tool import Rule, deny


def f(_x: object) -> str:
    """A function of one argument."""
    return ""


def g() -> str:
    """A function of none."""
    return ""


class P:
    """A plugin."""

    name = "p"


@tool
def ping() -> str:
    """Answer."""
    return "pong"


def make_prompt(_name: str) -> Callable[[RequestContext], str]:
    """A function that makes one of one argument."""
    raise NotImplementedError


async def answer(_request: Request, _host: Host) -> Response:
    """An endpoint; what it returns can be called too, with three arguments."""
    return Response()


def profile(**fields: Any) -> Profile:  # noqa: ANN401
    defaults: dict[str, Any] = {"id": "a", "model": "scripted:x"}
    return Profile(**defaults | fields)


def route(**fields: Any) -> Route:  # noqa: ANN401
    defaults: dict[str, Any] = {"path": "/x", "endpoint": answer}
    return Route(**defaults | fields)


def faults(**fields: Any) -> tuple[str, ...]:  # noqa: ANN401
    """What is said of an application with these fields; nothing when it can be made."""
    whole: dict[str, Any] = {
        "profiles": [profile()],
        "providers": [ScriptedModel([])],
        "store": MemorySessionStore(),
    }
    try:
        create_app(AppConfig(**whole | fields))
    except CompositionError as error:
        return error.faults
    return ()


PROFILES: list[tuple[dict[str, Any], str]] = [
    ({"id": 5}, "profile 5: id must be a text, not 5"),
    ({"model": None}, "profile 'a': model must be a text, not None"),
    (
        {"context_window": "big"},
        "profile 'a': context_window must be a whole number, not 'big'",
    ),
    ({"context_window": True}, "profile 'a': context_window must be a whole number, not True"),
    ({"compact": "no"}, "profile 'a': compact must be True or False, not 'no'"),
    ({"temperature": "hot"}, "profile 'a': temperature must be a number, not 'hot'"),
    ({"fallbacks": "a:b"}, "profile 'a': fallbacks must be a list, not 'a:b'"),
    ({"fallbacks": ["a:b", 5]}, "profile 'a': fallbacks[1] must be a text, not 5"),
    ({"tools": [ping, f]}, "profile 'a': tools[1]: f is no tool: decorate it with @tool"),
    ({"tools": ping}, "profile 'a': tools must be a list, not a FunctionTool"),
    ({"prompt": 3}, "profile 'a': prompt must be a text or a function, not 3"),
    ({"prompt": g}, "profile 'a': prompt: g must take (context)"),
    ({"prompt": P}, "profile 'a': prompt: P is a class: write P()"),
    (
        {"prompt": make_prompt},
        (
            "profile 'a': prompt: make_prompt must take (context), as what it returns does: "
            "write make_prompt(...)"
        ),
    ),
    ({"context_providers": f}, "profile 'a': context_providers must be a list, not f"),
    (
        {"context_providers": [f]},
        "profile 'a': context_providers[0]: f must take (context, messages)",
    ),
    ({"limits": {"steps": 3}}, "profile 'a': limits: {'steps': 3} is no Limits"),
    ({"limits": Limits}, "profile 'a': limits: Limits is a class: write Limits()"),
    (
        {"limits": Limits(steps="3")},  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        "profile 'a': limits.steps must be a whole number, not '3'",
    ),
    ({"prices": 3}, "profile 'a': prices: 3 is no Prices"),
    ({"permissions": deny("x")}, "profile 'a': permissions must be a list, not a Rule"),
    (
        {"permissions": ["read"]},
        (
            "profile 'a': permissions[0]: 'read' is no permission: "
            "write allow(...), ask(...) or deny(...)"
        ),
    ),
    (
        {"permissions": [Rule("deny", "x", {"to": 5})]},  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
        "profile 'a': permissions[0].arguments['to'] must be a text, not 5",
    ),
    (
        {"permissions": [Rule("denny")]},  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        "profile 'a': permissions[0].verdict must be one of 'allow', 'ask', 'deny', not 'denny'",
    ),
]


@pytest.mark.parametrize(("fields", "fault"), PROFILES, ids=[row[1] for row in PROFILES])
def test_a_profile_that_holds_something_else_is_refused(fields: dict[str, Any], fault: str) -> None:
    assert faults(profiles=[profile(**fields)]) == (fault,)


def app(field: str, value: object, fault: str) -> tuple[dict[str, Any], str]:
    return {field: value}, f"AppConfig: {field}{fault}"


APPS = [
    app("profiles", profile(), " must be a list, not a Profile"),
    app("profiles", [3], "[0]: 3 is no Profile"),
    app("providers", ScriptedModel([]), " must be a list, not a ScriptedModel"),
    app("providers", [ScriptedModel], "[0]: ScriptedModel is a class: write ScriptedModel()"),
    app("providers", ["x"], "[0]: 'x' is no ModelProvider: it has no 'complete'"),
    app("plugins", P(), " must be a list, not a P"),
    app("plugins", [P], "[0]: P is a class: write P()"),
    app("plugins", [f], "[0]: f is no Plugin: it has no 'name'"),
    app("model_middleware", middleware.logging(), " must be a list, not a BothSeams"),
    app(
        "model_middleware",
        [middleware.logging],
        "[0]: logging must take (request, call_next), as what it returns does: write logging(...)",
    ),
    app(
        "model_middleware",
        [middleware.redact],
        "[0]: redact must take (request, call_next), as what it returns does: write redact(...)",
    ),
    app(
        "tool_middleware",
        [middleware.batch],
        "[0]: batch must take (request, call_next), as what it returns does: write batch(...)",
    ),
    app("tool_middleware", [f], "[0]: f must take (request, call_next)"),
    app("tool_middleware", [3], "[0] must be a function of (request, call_next), not 3"),
    app("store", "app.db", ": 'app.db' is no SessionStore: it has no 'acquire'"),
    app("authenticator", BearerTokens, ": BearerTokens is a class: write BearerTokens()"),
    app("limits", Limits(), ": a Limits is no RequestLimits"),
    app("session_wait", "3", " must be a number, not '3'"),
    app("on_plugin_error", g, ": g must take (failure)"),
    app("routes", 3, " must be a list, not 3"),
    app("routes", [f], "[0]: f is no Route"),
]


@pytest.mark.parametrize(("fields", "fault"), APPS, ids=[row[1] for row in APPS])
def test_an_application_that_holds_something_else_is_refused(
    fields: dict[str, Any], fault: str
) -> None:
    assert faults(**fields) == (fault,)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"path": 5}, "route 5: path must be a text, not 5"),
        ({"endpoint": f}, "route '/x': endpoint: f must take (request, host)"),
        ({"methods": "GET"}, "route '/x': methods must be a list, not 'GET'"),
    ],
)
def test_a_route_that_holds_something_else_is_refused(fields: dict[str, Any], fault: str) -> None:
    assert faults(routes=[route(**fields)]) == (fault,)


def test_the_faults_of_all_parts_are_said_at_once() -> None:
    profiles = [
        profile(temperature="hot", compact=1),
        profile(id="b", name=3),
    ]

    assert faults(profiles=profiles, plugins=[P]) == (
        "profile 'a': compact must be True or False, not 1",
        "profile 'a': temperature must be a number, not 'hot'",
        "profile 'b': name must be a text, not 3",
        "AppConfig: plugins[0]: P is a class: write P()",
    )


PARTS: list[attrs.AttrsInstance] = [
    AppConfig(profiles=[profile()]),
    profile(),
    route(),
    RequestLimits(),
    Limits(),
    Prices(1, 2),
    Rule("deny"),
]


def within(part: object) -> dict[str, Any]:
    """The fields of an application that has the part."""
    match part:
        case Profile():
            return {"profiles": [part]}
        case Route():
            return {"routes": [part]}
        case RequestLimits():
            return {"limits": part}
        case Limits():
            return {"profiles": [profile(limits=part)]}
        case Prices():
            return {"profiles": [profile(prices=part)]}
        case _:
            return {"profiles": [profile(permissions=[part])]}


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (part, field.name)
        for part in PARTS
        for field in attrs.fields(type(part))
        if field.name not in {"output", "data_dir"}  # anything; and made a path at once
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_there_is_no_field_that_may_hold_anything(part: Any, name: str) -> None:  # noqa: ANN401
    wrong = object()
    if isinstance(part, AppConfig):
        said = faults(**{name: wrong})
    else:
        said = faults(**within(attrs.evolve(part, **{name: wrong})))

    assert len(said) == 1
    assert name in said[0].rpartition(": ")[2] or f"{name}: " in said[0]


def test_what_is_no_application_is_refused() -> None:
    part: Any = profile()
    with pytest.raises(CompositionError, match="create_app: a Profile is no AppConfig"):
        create_app(part)


def test_what_a_subclass_adds_is_its_own_affair() -> None:
    color = {"color": attrs.field(default=None, type=Path)}  # which it is not
    mine = attrs.make_class("Mine", color, bases=(Profile,), frozen=True, kw_only=True)

    assert faults(profiles=[mine(id="a", model="scripted:x")]) == ()
    assert faults(profiles=[mine(id="a", model=3)]) != ()


def test_what_fits_is_not_in_the_way() -> None:
    failures: list[object] = []

    def prompt(context: RequestContext) -> str:
        return context.user_id

    fine = profile(
        tools=(ping,),
        temperature=1,
        prompt=prompt,
        limits=Limits(seconds=5, cost=None),
        prices=Prices(1, 2.5),
    )
    assert (
        faults(
            profiles=(fine,),
            routes=[route()],
            plugins=[P()],
            model_middleware=[middleware.logging(), middleware.retry()],
            session_wait=0,
            on_plugin_error=failures.append,
        )
        == ()
    )


@pytest.mark.parametrize("reply", ["hello", Message.assistant("hello"), ValueError("hello")])
def test_a_script_is_a_list(reply: Any) -> None:  # noqa: ANN401
    with pytest.raises(ConfigError, match="takes a list of replies"):
        ScriptedModel(reply)


def test_one_reply_is_no_script() -> None:
    with pytest.raises(ConfigError, match="takes a list of replies"):
        ScriptedModel(ModelReply(message=Message.assistant("hello")))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
