"""The object-literal form of a plugin, and its list of members."""

from collections.abc import Callable, Sequence
from typing import get_args, get_origin, get_type_hints

import attrs
import pytest

from agentrail.hook import HOOKS, compile_hooks
from agentrail.hook._spec import ATTRIBUTES
from agentrail.plugin import Members, define_plugin
from agentrail.requests import RequestContext

MEMBERS = get_type_hints(Members)


def test_the_members_are_the_hooks_and_the_attributes() -> None:
    assert MEMBERS.keys() == (HOOKS.keys() | ATTRIBUTES) - {"name"}


def test_no_member_is_required() -> None:
    assert Members.__required_keys__ == frozenset()


@pytest.mark.parametrize("name", HOOKS)
def test_a_member_takes_what_its_hook_is_called_with(name: str) -> None:
    kind = MEMBERS[name]
    if name == "context_providers":
        assert get_origin(kind) is Sequence
        (kind,) = get_args(kind)

    assert get_origin(kind) is Callable
    assert len(get_args(kind)[0]) == len(HOOKS[name].parameters)


def test_a_defined_plugin_has_its_name_and_the_given_members_and_no_others() -> None:
    def remember(_context: RequestContext) -> None: ...

    plugin = define_plugin("tracker", on_turn_persisted=remember, priority=3, version="1.0")

    assert vars(plugin) == {
        "name": "tracker",
        "on_turn_persisted": remember,
        "priority": 3,
        "version": "1.0",
    }


def test_a_defined_plugin_and_a_class_give_the_same_hooks() -> None:
    def remember(_context: RequestContext) -> None: ...

    class Tracker:
        name = "tracker"
        version = "1.0"
        deadlines = {"on_turn_persisted": 5.0}  # noqa: RUF012 - read only
        on_turn_persisted = staticmethod(remember)

    literal = define_plugin(
        "tracker", version="1.0", deadlines={"on_turn_persisted": 5.0}, on_turn_persisted=remember
    )

    (one,), (other,) = (
        compile_hooks([form])[0]["on_turn_persisted"] for form in (literal, Tracker())
    )
    assert (one.version, one.deadline) == ("1.0", 5.0)
    assert attrs.asdict(one) == attrs.asdict(other)
