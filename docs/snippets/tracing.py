import anyio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agentrail import (
    AppConfig,
    ChatRequest,
    MemorySessionStore,
    Profile,
    RequestContext,
    ScriptedModel,
    create_app,
    define_plugin,
    tool,
)
from agentrail.model import call_tools


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def start(_context: RequestContext) -> None:
    trace.get_current_span().set_attribute("app.feature", "on")


# region provider
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
# endregion


async def main() -> None:
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any", tools=[add])],
            providers=[ScriptedModel([call_tools(("add", {"a": 1, "b": 2})), "Three."])],
            plugins=[define_plugin("feature", on_request_start=start, version="1.0")],
            store=MemorySessionStore(),
        )
    )
    async with app.host as host:
        await host.chat(ChatRequest("What is one and two?"))
    spans = exporter.get_finished_spans()
    # region names
    assert [span.name for span in spans] == [
        "agentrail.hook on_request_start",
        "chat any",
        "execute_tool add",
        "chat any",
        "invoke_agent assistant",
    ]
    # endregion
    turn = spans[-1]
    assert turn.context is not None
    assert all(span.parent and span.parent.span_id == turn.context.span_id for span in spans[:-1])
    assert {name for span in spans for name in span.attributes or {}} == {
        "agentrail.generation",
        "agentrail.hook.name",
        "agentrail.hook.outcome",
        "agentrail.plugin.name",
        "agentrail.plugin.version",
        "agentrail.tenant.id",
        "agentrail.transport",
        "agentrail.turn.id",
        "agentrail.turn.outcome",
        "app.feature",
        "gen_ai.agent.id",
        "gen_ai.agent.name",
        "gen_ai.conversation.id",
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.request.model",
        "gen_ai.response.finish_reasons",
        "gen_ai.response.model",
        "gen_ai.tool.call.id",
        "gen_ai.tool.name",
        "gen_ai.tool.type",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
    }


anyio.run(main)
