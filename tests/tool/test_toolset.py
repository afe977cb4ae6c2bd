"""A set of tools: unique names, a fixed order."""

from attrs import frozen

from agentrail.hook import Tool
from agentrail.messages import ToolSpec
from agentrail.requests import RequestContext
from agentrail.tool import Toolset


@frozen
class Named:
    """A tool that somebody wrote without `@tool`."""

    spec: ToolSpec

    async def call(self, arguments: object, context: RequestContext) -> object:
        return (arguments, context)


def named(name: str) -> Tool:
    return Named(ToolSpec(name=name, description="Does something."))


def test_specs_are_in_the_order_of_their_names() -> None:
    pairs = [("profile 'a'", named("zoom")), ("web", named("fetch")), ("web", named("read"))]

    forward, _ = Toolset.of(pairs)
    backward, _ = Toolset.of(reversed(pairs))

    assert [spec.name for spec in forward.specs] == ["fetch", "read", "zoom"]
    assert forward.specs == backward.specs


def test_a_tool_is_found_by_its_name_and_so_is_its_owner() -> None:
    zoom = named("zoom")

    toolset, faults = Toolset.of([("camera", zoom)])

    assert faults == ()
    assert toolset.tools["zoom"] is zoom
    assert toolset.owners["zoom"] == "camera"


def test_a_clash_of_names_is_a_fault_that_names_both_owners() -> None:
    first = named("fetch")

    toolset, faults = Toolset.of([("profile 'a'", first), ("web", named("fetch"))])

    assert faults == (
        (
            "two tools are named 'fetch', one of profile 'a' and one of web: "
            "give one of them another name"
        ),
    )
    assert toolset.tools["fetch"] is first
    assert len(toolset.specs) == 1


def test_a_name_that_no_provider_takes_is_a_fault() -> None:
    toolset, faults = Toolset.of([("web", named("fetch page"))])

    assert len(faults) == 1
    assert faults[0].startswith("web: 'fetch page' is no name for a tool")
    assert toolset.specs == ()


def test_an_empty_set_has_no_specs() -> None:
    assert Toolset.of([]) == (Toolset(), ())


def test_a_tool_may_say_of_which_code_it_is() -> None:
    @frozen
    class Packaged(Named):
        origin: str = "p@1.0.0"

    ours, theirs = named("ours"), Packaged(ToolSpec(name="theirs", description="Does something."))

    toolset, _ = Toolset.of([("a", ours), ("p", theirs)])

    assert toolset.origins == {"ours": "", "theirs": "p@1.0.0"}
