"""Metrics of calls, read from the real SDK."""

import re
from collections.abc import Mapping
from importlib import import_module

import anyio
import pytest
from msgspec.structs import replace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    HistogramDataPoint,
    InMemoryMetricReader,
)

from agentrail import ChatRequest, Delta, ModelReply, ModelRequest, Usage, middleware
from agentrail.errors import Overloaded
from agentrail.middleware import _metrics
from agentrail.model.scripted import call_tools
from agentrail.testing import FakeClock
from tests.docs.pages import rows
from tests.middleware.calls import Model, Reader, ToolBox, asking, calling, saying
from tests.middleware.conftest import Opens

pytestmark = pytest.mark.anyio

OPERATION = "gen_ai.client.operation.duration"
FIRST = "gen_ai.client.operation.time_to_first_chunk"
TOKENS = "gen_ai.client.token.usage"
TOOL = "gen_ai.execute_tool.duration"

CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "m",
    "gen_ai.provider.name": "openai",
}


class Measured:
    """A metrics middleware with an SDK behind it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.reader = InMemoryMetricReader()
        provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.middleware = middleware.metrics(meter=provider.get_meter("test"), clock=self.clock)

    def points(self) -> Mapping[str, list[HistogramDataPoint]]:
        """Returns the data points of each metric."""
        data = self.reader.get_metrics_data()
        found: dict[str, list[HistogramDataPoint]] = {}
        for resource in data.resource_metrics if data else ():
            for metric in (each for scope in resource.scope_metrics for each in scope.metrics):
                points = [p for p in metric.data.data_points if isinstance(p, HistogramDataPoint)]
                found[metric.name] = points
        return found


@pytest.fixture
def measured() -> Measured:
    return Measured()


async def test_a_model_call_has_a_duration_and_tokens(measured: Measured) -> None:
    async def slow(request: ModelRequest) -> ModelReply:
        measured.clock.advance(2)
        usage = Usage(input_tokens=7, output_tokens=5)
        return ModelReply(message=saying().message, usage=usage)

    await measured.middleware(asking(), slow)

    points = measured.points()
    assert set(points) == {OPERATION, TOKENS}
    (duration,) = points[OPERATION]
    assert (duration.sum, duration.count, dict(duration.attributes or {})) == (2, 1, CHAT)
    assert [(p.sum, dict(p.attributes or {})) for p in points[TOKENS]] == [
        (7, CHAT | {"gen_ai.token.type": "input"}),
        (5, CHAT | {"gen_ai.token.type": "output"}),
    ]


async def test_a_model_call_that_streams_has_a_time_to_the_first_chunk(measured: Measured) -> None:
    reader = Reader()

    async def slow(request: ModelRequest) -> ModelReply:
        measured.clock.advance(2)
        await request.emit(Delta(text="many "))
        measured.clock.advance(3)
        await request.emit(Delta(text="pieces"))
        return saying("many pieces")

    await measured.middleware(asking(emit=reader), slow)

    points = measured.points()
    assert [(p.sum, p.count, dict(p.attributes or {})) for p in points[FIRST]] == [(2, 1, CHAT)]
    assert points[OPERATION][0].sum == 5
    assert reader.text == "many pieces"


async def test_what_a_fallback_used_is_counted_as_its_own(measured: Measured) -> None:
    reply = replace(saying(), model="spare:of:it")
    await measured.middleware(asking(emit=Reader()), Model([reply]))

    answered = {"gen_ai.provider.name": "spare", "gen_ai.response.model": "of:it"}
    points = measured.points()
    found = [dict(point.attributes or {}) for name in (OPERATION, FIRST) for point in points[name]]
    assert found == [CHAT | answered] * 2
    assert [dict(point.attributes or {}) for point in points[TOKENS]] == [
        CHAT | answered | {"gen_ai.token.type": kind} for kind in ("input", "output")
    ]


async def test_tokens_that_nobody_counted_are_not_recorded(measured: Measured) -> None:
    await measured.middleware(asking(), Model([saying(tokens=0)]))

    assert TOKENS not in measured.points()


async def test_a_failure_has_its_type(measured: Measured) -> None:
    async def hang(_request: ModelRequest) -> ModelReply:
        scope.cancel()
        await anyio.sleep_forever()
        raise AssertionError

    with pytest.raises(Overloaded):
        await measured.middleware(asking(), Model([Overloaded("busy")]))
    with anyio.CancelScope() as scope:
        await measured.middleware(asking(), hang)

    kinds = [(p.attributes or {}).get("error.type") for p in measured.points()[OPERATION]]
    assert kinds == ["model_overloaded", "cancelled"]


async def test_a_tool_call_has_a_duration(measured: Measured) -> None:
    await measured.middleware(calling(), ToolBox(["5"]))
    await measured.middleware(calling(), ToolBox([("late", "timeout")]))

    kind = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "add",
        "gen_ai.tool.type": "function",
    }
    attributes = [dict(p.attributes or {}) for p in measured.points()[TOOL]]
    assert attributes == [kind, kind | {"error.type": "timeout"}]


async def test_names_that_a_model_makes_up_do_not_become_series_without_end(
    measured: Measured,
) -> None:
    for number in range(_metrics.MOST_NAMES + 10):
        await measured.middleware(calling(f"made_up_{number}"), ToolBox([("no", "error")]))
    await measured.middleware(calling("made_up_0"), ToolBox(["5"]))

    names = [(p.attributes or {})["gen_ai.tool.name"] for p in measured.points()[TOOL]]
    assert len(set(names)) == _metrics.MOST_NAMES + 1
    assert names[-1] == "made_up_0"
    assert "_OTHER" in names


async def test_the_buckets_are_those_of_the_conventions(measured: Measured) -> None:
    await measured.middleware(asking(), Model([saying()]))

    points = measured.points()
    assert points[OPERATION][0].explicit_bounds == (
        *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
        *(1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
    )
    assert points[TOKENS][0].explicit_bounds[-1] == 67108864


def test_the_names_are_those_of_the_conventions() -> None:
    """The package calls them deprecated, since they moved; the tool's duration came after."""
    module = import_module("opentelemetry.semconv._incubating.metrics.gen_ai_metrics")
    known = {value for value in vars(module).values() if isinstance(value, str)}

    assert {OPERATION, FIRST, TOKENS} <= known


async def test_the_instruments_and_attributes_are_those_of_the_reference(
    measured: Measured,
) -> None:
    around = measured.middleware
    await around(asking(emit=Reader()), Model([replace(saying(), model="openai:m")]))
    await around(calling(), ToolBox([("no", "error")]))
    with pytest.raises(Overloaded):
        await around(asking(), Model([Overloaded("busy")]))

    listed = rows("reference/middleware.md", "instrument")
    assert {
        name: set(re.findall(r"`(.+?)`", row["attributes"])) for name, row in listed.items()
    } == {
        name: {key for point in points for key in point.attributes or {}}
        for name, points in measured.points().items()
    }


async def test_without_a_provider_of_meters_calls_pass() -> None:
    assert await middleware.metrics()(asking(), Model([saying()])) == saying()


async def test_the_calls_of_a_turn_are_measured(measured: Measured, open_host: Opens) -> None:
    replies = [call_tools(("add", {"a": 2, "b": 3})), "five"]
    around = [measured.middleware]
    host = await open_host(replies, model=around, tools=around)

    await host.chat(ChatRequest("add"))

    points = measured.points()
    assert points[OPERATION][0].count == 2
    assert points[FIRST][0].count == 1  # the other call said nothing, it called a tool
    assert points[TOOL][0].count == 1
