"""A program whose turns say what must be seen in spans only where it is wanted.

It prints its spans, its measurements with their exemplars, and its log: a line of JSON each.
"""

import json
import logging
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import msgspec
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agentrail import (
    AgentApp,
    AgentrailError,
    AppConfig,
    Attachment,
    ChatRequest,
    ChatResponse,
    Limits,
    Message,
    Profile,
    RequestContext,
    ScriptedModel,
    create_app,
    define_plugin,
    middleware,
    tool,
)
from agentrail.errors import ModelUnavailable
from agentrail.messages import Reasoning, Text, ToolCall
from agentrail.model.scripted import Scripted
from agentrail.requests import ModelReply, ModelRequest
from agentrail.telemetry import trace_ids

KEY = "sk-abcdefghijklmnopqrstuvwxyz"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8


class Count(msgspec.Struct):
    """What one profile is to answer."""

    said_number: int


@tool
def look_up(said_argument: str) -> str:
    """Look something up."""
    return f"said-result {said_argument} {KEY}"


@tool
def stumble(said_argument: str) -> str:
    """Fail."""
    message = f"error-text {said_argument.partition('-')[2]}"
    raise OSError(message)


def answers() -> list[Scripted]:
    """The model's answers, in the order in which the turns ask for them."""
    call = ToolCall("call-1", "look_up", {"said_argument": f"said-value\n{KEY}"})
    fails = ToolCall("call-2", "stumble", {"said_argument": "said-value"})
    thought = Reasoning(f"said-thought {KEY}")

    def down(_request: ModelRequest) -> ModelReply:
        message = "error-text down"
        raise ModelUnavailable(message)

    return [
        Message.assistant((thought, Text("said-before"), call)),
        f"said-answer {KEY} of Mr. Secretive",
        Message.assistant((fails,)),
        "said-sorry",
        down,
        '{"said_number": "said-no-number"}',
        '{"said_number": "said-no-number"}',
    ]


def say(context: RequestContext, _messages: object) -> list[Message]:
    """Provide context, and a failure of a plugin's in the background."""

    async def later() -> None:
        await anyio.lowlevel.checkpoint()
        message = "error-text later"
        raise ValueError(message)

    context.services.background(later)
    return [Message.system("said-context")]


def intercept(request: ChatRequest, _context: RequestContext) -> ChatResponse | None:
    """Answer what is a command."""
    return ChatResponse("said-by-plugin") if request.text == "/said" else None


def stumbling(*_: object) -> None:
    """Fail as a hook."""
    message = "error-text hook"
    raise ValueError(message)


NAMES = middleware.Pattern("name", r"Secretive", longest=9)


def app() -> AgentApp:
    """The application; its model knows a pattern of its own that is to be hidden."""
    model = ScriptedModel(answers())
    return create_app(
        AppConfig(
            profiles=[
                Profile(
                    id="talker",
                    model="scripted:any",
                    prompt=f"said-prompt {KEY}",
                    tools=[look_up, stumble],
                    images=True,
                    limits=Limits(steps=5),
                ),
                Profile(id="counter", model="scripted:any", output=Count),
            ],
            providers=[model],
            plugins=[
                define_plugin(
                    "talkative",
                    context_providers=[say],
                    intercept_chat_request=intercept,
                    attachment_handler=lambda _files, _context: "said-of-file",
                    on_request_end=stumbling,
                )
            ],
            model_middleware=[
                middleware.logging(),
                middleware.metrics(),
                middleware.redact([NAMES]),
            ],
            tool_middleware=[middleware.logging(), middleware.metrics(), middleware.slow_log(0)],
            data_dir=Path(sys.argv[2]),
        )
    )


class Lines(logging.Handler):
    """Keeps all that a record has."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.lines.append(f"{self.format(record)} {record.__dict__}")


async def main() -> None:
    """Run the turns."""
    files = (
        Attachment("said-name.txt", "text/plain", b"said-content"),
        Attachment("said-name.png", "image/png", PNG),
    )
    asked = [
        ChatRequest(
            f"said-question {KEY} of Mr. Secretive",
            session_id="session-7",
            tenant_id="tenant-7",
            user_id="user-7",
            attachments=files,
            metadata={"said": "said-metadata"},
        ),
        ChatRequest("said-again", session_id="session-7", tenant_id="tenant-7", user_id="user-7"),
        ChatRequest("said-in-vain", session_id="session-7", tenant_id="tenant-7", user_id="user-7"),
        ChatRequest("/said", session_id="session-7", tenant_id="tenant-7", user_id="user-7"),
        ChatRequest("said-count", agent_id="counter"),
    ]
    async with application.host as host:
        for request in asked:
            await answered(host.chat, request)


async def answered(
    chat: Callable[[ChatRequest], Awaitable[ChatResponse]], request: ChatRequest
) -> None:
    """Ask, whatever comes of it."""
    try:
        await chat(request)
    except AgentrailError as error:
        sys.stderr.write(f"{error.code}\n")


log = Lines()
log.addFilter(trace_ids)
logging.basicConfig(handlers=[log], level=logging.DEBUG, force=True)
reader, exporter, provider = InMemoryMetricReader(), InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
metrics.set_meter_provider(MeterProvider([reader]))
application = app()
anyio.run(main, backend=sys.argv[1])
measured = reader.get_metrics_data()
sys.stdout.write(json.dumps([json.loads(span.to_json()) for span in exporter.get_finished_spans()]))
sys.stdout.write(f"\n{measured.to_json(indent=None) if measured else ''}\n")
sys.stdout.write(json.dumps(log.lines))
