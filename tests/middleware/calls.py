"""What the tests of middleware share: requests, answers, and a clock that a test moves."""

from collections.abc import Callable, Mapping
from typing import Any

import anyio
import anyio.lowlevel
from attrs import define, field
from msgspec.structs import replace

from agentrail import (
    Delta,
    Message,
    ModelReply,
    ModelRequest,
    RequestContext,
    ToolCall,
    ToolRequest,
    ToolResult,
    Usage,
)
from agentrail.messages import ToolOutcome
from agentrail.requests import ignore_delta
from tests.contexts import context_of

ANN = context_of()


def asking(text: str = "hi", **fields: Any) -> ModelRequest:  # noqa: ANN401
    """Returns a model request of one user's message."""
    request = ModelRequest(
        model="m", provider="openai", context=ANN, messages=(Message.user(text),)
    )
    return replace(request, **fields)


def calling(
    name: str = "add",
    arguments: Mapping[str, object] | None = None,
    context: RequestContext = ANN,
    call_id: str = "c1",
) -> ToolRequest:
    call = ToolCall(id=call_id, name=name, arguments={} if arguments is None else arguments)
    return ToolRequest(call=call, context=context, permitted=call)


def saying(text: str = "fine", tokens: int = 3) -> ModelReply:
    usage = Usage(input_tokens=tokens, output_tokens=tokens)
    return ModelReply(message=Message.assistant(text), usage=usage)


def result_of(request: ToolRequest, content: str = "5", outcome: ToolOutcome = "ok") -> ToolResult:
    call = request.call
    return ToolResult(call_id=call.id, name=call.name, content=content, outcome=outcome)


@define
class Model:
    """Answers each request with the next of its answers, the last one for ever; errors are raised.

    It says the text of a reply in pieces of three characters, before it raises an error too.
    """

    answers: list[ModelReply | Exception | Callable[[ModelRequest], ModelReply]]
    said_first: str = ""
    requests: list[ModelRequest] = field(factory=list[ModelRequest])

    async def __call__(self, request: ModelRequest) -> ModelReply:
        await anyio.lowlevel.checkpoint()
        self.requests.append(request)
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if self.said_first:
            await request.emit(Delta(text=self.said_first))
        if isinstance(answer, Exception):
            raise answer
        reply = answer if isinstance(answer, ModelReply) else answer(request)
        if request.emit is not ignore_delta:
            text = reply.message.text
            for start in range(0, len(text), 3):
                await request.emit(Delta(text=text[start : start + 3]))
        return reply


@define
class ToolBox:
    """Answers each request with the next of its answers, the last one for ever."""

    answers: list[str | tuple[str, ToolOutcome]]
    requests: list[ToolRequest] = field(factory=list[ToolRequest])

    async def __call__(self, request: ToolRequest) -> ToolResult:
        await anyio.lowlevel.checkpoint()
        self.requests.append(request)
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, str):
            return result_of(request, answer)
        return result_of(request, *answer)


@define
class Reader:
    """Takes the pieces of an answer."""

    deltas: list[Delta] = field(factory=list[Delta])

    async def __call__(self, delta: Delta) -> None:
        await anyio.lowlevel.checkpoint()
        self.deltas.append(delta)

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas)

    @property
    def reasoning(self) -> str:
        return "".join(delta.reasoning for delta in self.deltas)


async def others_run() -> None:
    """Returns when all tasks had some turns; those that wait for a moment may wait on."""
    for _ in range(10):
        await anyio.lowlevel.checkpoint()
