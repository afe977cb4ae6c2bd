"""The span that a hook call makes, by the real SDK."""

import subprocess
import sys
from types import SimpleNamespace
from typing import cast

import anyio
import anyio.lowlevel
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Span, StatusCode, Tracer, get_current_span

from agentrail.hook import Funnel, Hook, Plugin, compile_hooks, late_spans, span
from tests.strays import STRAYS, Stray

pytestmark = pytest.mark.anyio


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> Tracer:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("test")


@pytest.fixture
def traced(funnel: Funnel, tracer: Tracer) -> Funnel:
    return Funnel(funnel.watchdog, funnel.on_failure, tracer, generation=7)


def hooks(*functions: object, **members: object) -> tuple[Hook, ...]:
    """Gives each function a plugin: p0, p1 and so on."""
    plugins = [
        SimpleNamespace(name=f"p{number}", on_request_start=function, **members)
        for number, function in enumerate(functions)
    ]
    table, faults = compile_hooks(cast("list[Plugin]", plugins))
    assert faults == ()
    return table["on_request_start"]


def ignore(_context: object) -> None: ...


def answer(_context: object) -> str:
    return "answer"


async def ignore_later(_context: object) -> None:
    await anyio.lowlevel.checkpoint()


def parent_of(child: ReadableSpan) -> int | None:
    return None if child.parent is None else child.parent.span_id


def id_of(one: ReadableSpan | Span) -> int:
    context = one.get_span_context()
    assert context is not None
    return context.span_id


async def test_each_hook_call_makes_one_span(
    traced: Funnel, exporter: InMemorySpanExporter
) -> None:
    await traced.observe(hooks(ignore, ignore_later, version="1.2"), "context")

    spans = exporter.get_finished_spans()
    assert [one.name for one in spans] == ["agentrail.hook on_request_start"] * 2
    assert [dict(one.attributes or {}) for one in spans] == [
        {
            "agentrail.hook.name": "on_request_start",
            "agentrail.hook.outcome": "ok",
            "agentrail.plugin.name": plugin,
            "agentrail.plugin.version": "1.2",
            "agentrail.generation": 7,
        }
        for plugin in ("p0", "p1")
    ]
    assert [one.status.status_code for one in spans] == [StatusCode.UNSET] * 2


async def test_a_plugin_without_a_version_has_none_in_its_span(
    traced: Funnel, exporter: InMemorySpanExporter
) -> None:
    await traced.observe(hooks(ignore), "context")

    (made,) = exporter.get_finished_spans()
    assert "agentrail.plugin.version" not in (made.attributes or {})


async def test_gathered_hooks_make_a_span_each(
    traced: Funnel, exporter: InMemorySpanExporter
) -> None:
    await traced.gather(hooks(ignore, ignore_later, ignore), type(None), "context")

    plugins = [
        (made.attributes or {})["agentrail.plugin.name"] for made in exporter.get_finished_spans()
    ]
    assert sorted(map(str, plugins)) == ["p0", "p1", "p2"]


async def test_hooks_that_are_not_asked_make_no_span(
    traced: Funnel, exporter: InMemorySpanExporter
) -> None:
    found = await traced.first(hooks(answer, ignore), str, "context")

    assert found is not None
    assert len(exporter.get_finished_spans()) == 1


async def test_a_hook_that_fails_is_an_error_in_its_span(
    traced: Funnel, exporter: InMemorySpanExporter
) -> None:
    async def fail(_context: object) -> None:
        await anyio.lowlevel.checkpoint()
        message = "lost"
        raise OSError(message)

    await traced.observe(hooks(fail, ignore), "context")

    failed, after = exporter.get_finished_spans()
    assert (failed.attributes or {})["agentrail.hook.outcome"] == "error"
    assert_failed(failed)
    assert (after.attributes or {})["agentrail.hook.outcome"] == "ok"


@pytest.mark.parametrize("stray", STRAYS)
async def test_a_hook_that_strays_is_an_error_in_its_span(
    traced: Funnel, exporter: InMemorySpanExporter, stray: Stray
) -> None:
    async def lose(_context: object) -> None:
        await stray()

    await traced.observe(hooks(lose), "context")

    (failed,) = exporter.get_finished_spans()
    assert (failed.attributes or {})["agentrail.hook.outcome"] == "error"
    assert (failed.attributes or {})["error.type"] == "hook_failed"


def assert_failed(made: ReadableSpan) -> None:
    """Return when the span tells of an ``OSError`` and where it was raised, and not its text."""
    assert (made.status.status_code, made.status.description) == (StatusCode.ERROR, None)
    assert (made.attributes or {})["error.type"] == "OSError"
    (event,) = made.events
    told = dict(event.attributes or {})
    assert event.name == "exception"
    assert sorted(told) == ["exception.stacktrace", "exception.type"]
    assert told["exception.type"] == "OSError"
    assert "in fail\n    raise OSError(message)" in str(told["exception.stacktrace"])
    assert "lost" not in made.to_json()


async def test_a_hook_that_is_called_while_an_error_is_handled_is_not_blamed_for_it(
    traced: Funnel, tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    try:
        await fail("context")
    except OSError:
        await traced.observe(hooks(ignore_later), "context")
        with span(tracer, "work", {}):
            await anyio.lowlevel.checkpoint()

    hook, work = exporter.get_finished_spans()
    assert (hook.attributes or {})["agentrail.hook.outcome"] == "ok"
    assert [made.status.status_code for made in (hook, work)] == [StatusCode.UNSET] * 2


async def test_a_hook_that_is_late_is_a_timeout_and_an_error_in_its_span(
    traced: Funnel, exporter: InMemorySpanExporter
) -> None:
    async def hang(_context: object) -> None:
        await anyio.Event().wait()

    late = hooks(hang, deadlines={"on_request_start": 0.03})

    await traced.observe(late, "context")

    (made,) = exporter.get_finished_spans()
    assert (made.attributes or {})["agentrail.hook.outcome"] == "timeout"
    assert (made.attributes or {})["error.type"] == "hook_timeout"
    assert made.status.status_code is StatusCode.ERROR
    assert made.status.description == "it took longer than 0.03 s"


async def test_a_hook_that_is_cancelled_from_outside_is_cancelled_in_its_span(
    traced: Funnel, exporter: InMemorySpanExporter
) -> None:
    with anyio.CancelScope() as scope:

        async def cancelled(_context: object) -> None:
            scope.cancel()
            await anyio.Event().wait()

        await traced.observe(hooks(cancelled), "context")

    (made,) = exporter.get_finished_spans()
    assert (made.attributes or {})["agentrail.hook.outcome"] == "cancelled"


async def test_spans_nest_as_the_calls_do(
    traced: Funnel, tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    async def work(_context: object) -> None:
        await anyio.lowlevel.checkpoint()
        with tracer.start_as_current_span("inside"):
            await anyio.lowlevel.checkpoint()

    with tracer.start_as_current_span("turn") as turn:
        await traced.observe(hooks(work, ignore), "context")
        await traced.gather(hooks(ignore, ignore), type(None), "context")
        assert get_current_span() is turn

    inside, first, *others, outer = exporter.get_finished_spans()
    assert (inside.name, parent_of(inside)) == ("inside", id_of(first))
    assert [parent_of(made) for made in (first, *others)] == [id_of(turn)] * 4
    assert (outer.name, parent_of(outer)) == ("turn", None)


async def test_hooks_are_siblings_not_each_others_children(
    traced: Funnel, exporter: InMemorySpanExporter
) -> None:
    await traced.observe(hooks(ignore_later, ignore_later), "context")

    assert [parent_of(made) for made in exporter.get_finished_spans()] == [None, None]


async def test_without_a_tracer_no_span_is_made(
    funnel: Funnel, tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    seen: list[Span] = []

    def look(_context: object) -> None:
        seen.append(get_current_span())

    with tracer.start_as_current_span("turn") as turn:
        await funnel.observe(hooks(look), "context")

    assert seen == [turn]
    assert [made.name for made in exporter.get_finished_spans()] == ["turn"]


def test_a_span_is_current_in_its_block(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    with span(tracer, "work", {"size": 3}) as current:
        assert get_current_span() is current

    (made,) = exporter.get_finished_spans()
    assert (made.name, dict(made.attributes or {})) == ("work", {"size": 3})


# A provider is set once in a process and for good, so each of these has a process to itself.
SET = "from opentelemetry import trace; from opentelemetry.{0} import {1} as P; {2}"


@pytest.mark.parametrize(
    ("setup", "active"),
    [
        ("pass", False),
        (SET.format("trace", "NoOpTracerProvider", "trace.set_tracer_provider(P())"), False),
        (SET.format("sdk.trace", "TracerProvider", "trace.set_tracer_provider(P())"), True),
    ],
    ids=["none", "no-op", "real"],
)
def test_there_is_a_tracer_only_with_a_provider_that_the_application_set(
    setup: str, active: object
) -> None:
    code = f"{setup}\nfrom agentrail.hook import active_tracer; print(active_tracer() is not None)"

    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )

    assert printed.stdout.strip() == str(active)


# Spans of slow hooks and of those that failed alone, made when the call is over.


async def fail(_context: object) -> None:
    await anyio.lowlevel.checkpoint()
    message = "lost"
    raise OSError(message)


async def wait_a_little(_context: object) -> None:
    await anyio.sleep(0.02)


def late(funnel: Funnel, tracer: Tracer, slow: float) -> Funnel:
    watcher = late_spans(tracer, 7, slow)
    return Funnel(funnel.watchdog, funnel.on_failure, watchers=(watcher,))


@pytest.mark.parametrize(
    ("slow", "made"),
    [(0.01, [("p0", "error"), ("p1", "ok")]), (float("inf"), [("p0", "error")])],
    ids=["slow", "errors"],
)
async def test_only_what_failed_or_was_slow_makes_a_span_if_that_is_wanted(
    funnel: Funnel,
    tracer: Tracer,
    exporter: InMemorySpanExporter,
    slow: float,
    made: list[tuple[str, str]],
) -> None:
    called = hooks(fail, wait_a_little, ignore, version="1.2")
    with tracer.start_as_current_span("turn") as turn:
        await late(funnel, tracer, slow).observe(called, "context")

    *spans, _ = exporter.get_finished_spans()
    told = [one.attributes or {} for one in spans]
    shown = [(each["agentrail.plugin.name"], each["agentrail.hook.outcome"]) for each in told]
    assert shown == made
    assert [parent_of(one) for one in spans] == [id_of(turn)] * len(made)
    assert_failed(spans[0])
    assert dict(spans[0].attributes or {}).keys() == {
        "error.type",
        "agentrail.generation",
        "agentrail.hook.name",
        "agentrail.hook.outcome",
        "agentrail.plugin.name",
        "agentrail.plugin.version",
    }


async def test_a_span_that_is_made_afterwards_lies_where_the_call_was(
    funnel: Funnel, tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    with tracer.start_as_current_span("turn"):
        await late(funnel, tracer, 0.0).observe(hooks(wait_a_little), "context")

    made, turn = exporter.get_finished_spans()
    assert None not in (made.start_time, made.end_time, turn.start_time, turn.end_time)
    assert turn.start_time <= made.start_time < made.end_time <= turn.end_time  # type: ignore[operator]
    assert made.end_time - made.start_time >= 0.02 * 1e9  # type: ignore[operator]


async def test_a_hook_that_is_late_or_cut_off_makes_a_span_of_its_outcome_afterwards(
    funnel: Funnel, tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    async def hang(_context: object) -> None:
        await anyio.Event().wait()

    watching = late(funnel, tracer, 0.0)
    await watching.observe(hooks(hang, deadlines={"on_request_start": 0.03}), "context")
    with anyio.CancelScope() as scope:

        async def cancelled(_context: object) -> None:
            scope.cancel()
            await anyio.Event().wait()

        await watching.observe(hooks(cancelled), "context")

    told = [one.attributes or {} for one in exporter.get_finished_spans()]
    outcomes = [each["agentrail.hook.outcome"] for each in told]
    assert outcomes == ["timeout", "cancelled"]
    assert [each.get("error.type") for each in told] == ["hook_timeout", None]
