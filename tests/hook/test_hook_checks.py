"""What is refused when plugins are composed, and what is let be."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import anyio
import pytest

from agentrail.hook import HOOKS, Plugin, compile_hooks, provider_hooks
from agentrail.plugin import Members, define_plugin


def ignore(_context: object) -> None: ...


def faults_of(*plugins: object) -> tuple[str, ...]:
    return compile_hooks(cast("Sequence[Plugin]", plugins))[1]


def faults_with(**members: object) -> tuple[str, ...]:
    return faults_of(SimpleNamespace(name="p", **members))


class Nameless:
    def __repr__(self) -> str:
        return "<the nameless one>"


@pytest.mark.parametrize("members", [{}, {"name": ""}, {"name": " \t"}, {"name": 7}])
def test_a_plugin_needs_a_name(members: dict[str, object]) -> None:
    plugin = SimpleNamespace(**members)

    (fault,) = faults_of(plugin)

    assert fault == f"{plugin!r} is no plugin: it needs a 'name' (a non-empty string)"


def test_what_is_no_plugin_at_all_is_named_by_its_representation() -> None:
    (fault,) = faults_of(Nameless())

    assert fault.startswith("<the nameless one> is no plugin")


def test_two_plugins_cannot_have_one_name() -> None:
    faults = faults_of(*(SimpleNamespace(name=name) for name in ("twin", "other", "twin")))

    assert faults == ("two plugins are named 'twin': give one of them another name",)


@pytest.mark.parametrize("name", [name for name in HOOKS if name != "context_providers"])
def test_a_hook_must_be_a_function(name: str) -> None:
    assert faults_with(**{name: 3}) == (f"plugin 'p': {name} must be a function, not int",)


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_must_take_its_parameters(name: str) -> None:
    def four(_a: object, _b: object, _c: object, _d: object) -> None: ...

    member = [four] if name == "context_providers" else four

    assert faults_with(**{name: member}) == (
        f"plugin 'p': {name} must take ({', '.join(HOOKS[name].parameters)})",
    )


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_may_call_its_parameters_as_it_likes_and_have_more_with_defaults(name: str) -> None:
    def anything(*_them: object, more: int = 1) -> None:
        assert more

    member = (anything,) if name == "context_providers" else anything

    assert faults_with(**{name: member}) == ()


def test_a_hook_without_a_signature_is_taken_as_it_is() -> None:
    # `type` gives no signature, though it can be called.
    assert faults_with(on_request_start=type) == ()


@pytest.mark.parametrize(
    ("member", "meant"),
    [
        ("on_turn_persist", "on_turn_persisted"),
        ("onRequestStart", "on_request_start"),
        ("interceptChatRequest", "intercept_chat_request"),
        ("attachments_handler", "attachment_handler"),
        ("before_tool_cal", "before_tool_call"),
        ("priorty", "priority"),
        ("deadline", "deadlines"),
        ("context_provider", "context_providers"),
    ],
)
@pytest.mark.parametrize("value", [ignore, 1])
def test_a_near_miss_is_refused_with_the_name_that_was_meant(
    member: str, meant: str, value: object
) -> None:
    (fault,) = faults_with(**{member: value})

    assert fault == f"plugin 'p': {member!r} looks like a hook and is none; did you mean {meant!r}?"


@pytest.mark.parametrize(("member", "meant"), [("startup", "start"), ("tool", "tools")])
def test_a_name_less_near_is_refused_for_a_function_and_let_be_for_a_value(
    member: str, meant: str
) -> None:
    (fault,) = faults_with(**{member: ignore})

    assert fault.endswith(f"did you mean {meant!r}?")
    assert faults_with(**{member: False}) == ()


def test_what_looks_like_a_hook_and_resembles_none_is_refused_too() -> None:
    (fault,) = faults_with(on_full_moon=ignore)

    assert fault == "plugin 'p': 'on_full_moon' looks like a hook and is none"


@pytest.mark.parametrize(
    "members",
    [
        {"started": False, "store": {}, "count": 3},
        {"stopped": True, "tool": "hammer", "session": None, "settings": {}},
        {"remember": ignore, "run": ignore, "close": ignore, "render": ignore},
        {"_on_turn_persist": ignore, "__startup": ignore},
        {"once": 1, "online": True, "one": ignore},
    ],
)
def test_what_a_plugin_has_for_itself_is_let_be(members: dict[str, object]) -> None:
    assert faults_with(**members) == ()


class Lazy:
    """Has a property that can be read only while it runs."""

    name = "lazy"

    @property
    def connection(self) -> str:
        message = "read before start"
        raise RuntimeError(message)

    @classmethod
    def of(cls) -> "Lazy":
        return cls()


def test_a_property_that_is_no_hook_is_not_read() -> None:
    assert faults_of(Lazy.of()) == ()


@pytest.mark.parametrize(
    ("deadlines", "fault"),
    [
        ({"on_turn_persist": 1}, "deadlines names no hook: 'on_turn_persist'; did you mean"),
        ({"moon": 1}, "deadlines names no hook: 'moon'"),
        ({3: 1}, "deadlines names no hook: 3"),
        ({"stop": "1"}, "the deadline of 'stop' must be a number of seconds over 0, not '1'"),
        ({"stop": None}, "the deadline of 'stop' must be a number of seconds over 0, not None"),
        ({"stop": 0}, "the deadline of 'stop' must be a number of seconds over 0, not 0"),
        ({"stop": -1.5}, "the deadline of 'stop' must be a number of seconds over 0, not -1.5"),
        (["stop"], "deadlines must be a mapping from hook names to seconds"),
    ],
)
def test_deadlines_are_seconds_by_hook(deadlines: object, fault: str) -> None:
    (found,) = faults_with(deadlines=deadlines)

    assert found.startswith(f"plugin 'p': {fault}")


def test_a_priority_is_a_number() -> None:
    assert faults_with(priority="high") == ("plugin 'p': priority must be a number",)


@pytest.mark.parametrize("providers", [ignore, "provider", 3, iter([ignore])])
def test_context_providers_is_a_sequence(providers: object) -> None:
    assert faults_with(context_providers=providers) == (
        "plugin 'p': context_providers must be a sequence of context providers",
    )


def test_the_context_providers_of_a_profile_are_checked_alike() -> None:
    hooks, faults = provider_hooks("profile:editor", [ignore, 3])

    assert hooks == ()
    assert faults == (
        "profile:editor: a context provider must take (context, messages)",
        "profile:editor: a context provider must be a function, not int",
    )


def test_tools_are_tools() -> None:
    tool = SimpleNamespace(spec=None, call=ignore)

    faults = faults_with(tools=[tool, "hammer", 3])

    assert faults == (
        "plugin 'p': 'hammer' is no tool: decorate it with @tool",
        "plugin 'p': 3 is no tool: decorate it with @tool",
    )


@pytest.mark.parametrize("tools", [SimpleNamespace(spec=None, call=ignore), 3, "hammer"])
def test_tools_is_a_sequence(tools: object) -> None:
    assert faults_with(tools=tools) == ("plugin 'p': tools must be a sequence of tools",)


def test_all_faults_of_all_plugins_are_found_at_once() -> None:
    def stop(_more: object) -> None: ...

    faults = faults_of(
        SimpleNamespace(),
        SimpleNamespace(name="a", priority="high", start=1, on_moon=ignore, deadlines={"x": 1}),
        SimpleNamespace(name="a", tools=[3], context_providers=4, stop=stop),
    )

    assert len(faults) == 9
    for words in ("'name'", "priority", "start", "on_moon", "'x'", "two plugins", "3", "providers"):
        assert any(words in fault for fault in faults), words
    assert "plugin 'a': stop must take ()" in faults


def test_a_faulty_member_is_left_out_and_the_others_stand() -> None:
    def stop() -> None: ...

    members = {"start": 1, "stop": stop, "context_providers": [3, stop]}
    plugin = cast("Plugin", SimpleNamespace(name="p", **members))

    table, faults = compile_hooks([plugin])

    assert len(faults) == 3
    assert {name for name in HOOKS if table[name]} == {"stop"}


def test_define_plugin_leaves_an_unknown_member_to_be_refused_at_composition() -> None:
    members = cast("Members", {"on_turn_persist": ignore})  # as without a type checker

    (fault,) = faults_of(define_plugin("tracker", **members))

    assert fault.startswith("plugin 'tracker': 'on_turn_persist' looks like a hook")


def test_an_event_or_a_lock_of_its_own_is_no_hook() -> None:
    assert faults_with(started=anyio.Event(), stop_lock=anyio.Lock()) == ()
