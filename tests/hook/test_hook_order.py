"""In which order the hooks of several plugins stand."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrail.hook import HOOKS, HookTable, Plugin, compile_hooks, in_order, provider_hooks
from agentrail.messages import Message
from agentrail.requests import RequestContext


def ignore(_context: object) -> None: ...


async def ignore_later(_context: object) -> None: ...


class AsyncCallable:
    async def __call__(self, _context: object) -> None: ...

    async def method(self, _context: object) -> None: ...


async def provide(_context: RequestContext, _messages: Sequence[Message]) -> Sequence[Message]:
    return ()


def plugin(name: str, **members: object) -> Plugin:
    return cast("Plugin", SimpleNamespace(name=name, **members))


def compiled(*plugins: Plugin) -> HookTable:
    table, faults = compile_hooks(plugins)
    assert faults == ()
    return table


def test_hooks_stand_in_the_order_of_registration() -> None:
    plugins = [plugin(name, on_request_start=ignore) for name in ("c", "a", "b")]

    table = compiled(*plugins)

    assert [hook.plugin for hook in table["on_request_start"]] == ["c", "a", "b"]


def test_a_higher_priority_stands_first_and_none_counts_as_zero() -> None:
    plugins = [
        plugin("low", priority=-1, on_request_start=ignore),
        plugin("plain", on_request_start=ignore),
        plugin("high", priority=0.5, on_request_start=ignore),
        plugin("zero", priority=0, on_request_start=ignore),
    ]

    table = compiled(*plugins)

    assert [hook.plugin for hook in table["on_request_start"]] == ["high", "plain", "zero", "low"]
    assert [hook.position for hook in table["on_request_start"]] == [0, 1, 2, 3]


@given(st.lists(st.integers(min_value=-2, max_value=2)))
def test_plugins_are_sorted_by_priority_and_stay_as_registered_within_one(
    priorities: list[int],
) -> None:
    plugins = [
        plugin(f"p{number}", priority=priority, number=number)
        for number, priority in enumerate(priorities)
    ]

    ordered = in_order(plugins)

    assert sorted(map(id, ordered)) == sorted(map(id, plugins))
    keys = [(-vars(each)["priority"], vars(each)["number"]) for each in ordered]
    assert all(earlier < later for earlier, later in pairwise(keys))


@given(st.lists(st.tuples(st.integers(-2, 2), st.sets(st.sampled_from(["start", "stop"])))))
def test_each_hook_stands_in_plugin_order_whoever_else_has_it(
    plugins: list[tuple[int, set[str]]],
) -> None:
    made = [
        plugin(f"p{number}", priority=priority, **dict.fromkeys(members, list[str]))
        for number, (priority, members) in enumerate(plugins)
    ]

    table = compiled(*made)

    for name in ("start", "stop"):
        expected = [plugin.name for plugin in in_order(made) if hasattr(plugin, name)]
        assert [hook.plugin for hook in table[name]] == expected


def test_tools_stand_in_plugin_order_each_with_its_plugin() -> None:
    first, second, third = (SimpleNamespace(spec=None, call=ignore, label=label) for label in "abc")

    table = compiled(
        plugin("late", priority=-1, tools=(first,)),
        plugin("early", tools=[second, third]),
    )

    assert table.tools == (("early", second), ("early", third), ("late", first))


def test_context_providers_of_one_plugin_keep_their_order() -> None:
    def provide_nothing(_context: object, _messages: object) -> None: ...

    several = [provide, provide_nothing, provide]

    table = compiled(plugin("p", context_providers=several))

    assert [hook.call for hook in table["context_providers"]] == several


def test_the_providers_of_a_profile_stand_before_those_of_plugins() -> None:
    own, faults = provider_hooks("profile:editor", [provide])

    assert faults == ()
    assert [str(hook) for hook in own] == ["profile:editor.context_providers"]
    assert own[0].position < compiled(plugin("p", stop=list[str]))["stop"][0].position


def test_a_hook_that_nobody_has_is_an_empty_tuple() -> None:
    table = compiled(plugin("p", on_request_start=ignore, on_request_end=None))

    assert {name: table[name] for name in HOOKS if name != "on_request_start"} == {
        name: () for name in HOOKS if name != "on_request_start"
    }


def test_a_hook_carries_what_its_plugin_says_of_it() -> None:
    table = compiled(
        plugin(
            "p",
            version="1.2",
            critical=True,
            deadlines={"on_request_start": 7},
            on_request_start=ignore,
            on_request_end=ignore,
        )
    )

    (start,), (end,) = table["on_request_start"], table["on_request_end"]
    assert (start.plugin, start.name, str(start)) == (
        "p",
        "on_request_start",
        "p.on_request_start",
    )
    assert (start.version, start.critical, start.deadline) == ("1.2", True, 7.0)
    assert end.deadline == HOOKS["on_request_end"].deadline


@pytest.mark.parametrize(
    ("function", "is_async"),
    [
        (ignore, False),
        (ignore_later, True),
        (partial(ignore), False),
        (partial(partial(ignore_later)), True),
        (AsyncCallable(), True),
        (AsyncCallable().method, True),
        (partial(AsyncCallable()), True),
        (print, False),
    ],
)
def test_async_hooks_are_known_beforehand(function: object, is_async: object) -> None:
    (hook,) = compiled(plugin("p", on_request_start=function))["on_request_start"]

    assert hook.is_async is is_async
