"""How many images a model is shown in one call: the newest, as many as providers take."""

from collections.abc import Sequence

import pytest

from agentrail import (
    AgentHost,
    AppConfig,
    Attachment,
    ChatRequest,
    Image,
    MemorySessionStore,
    Message,
    Part,
    Profile,
    ScriptedModel,
    Text,
    ToolCall,
    ToolResult,
    create_app,
    define_plugin,
)
from agentrail.requests import RequestContext
from tests.attachment import files

pytestmark = pytest.mark.anyio

LEFT_OUT = "[an image that is left out: a call takes the newest 20 images, of 14 MB together]"


def png(size: int, mark: int = 0) -> bytes:
    """Returns a file that begins as a PNG does, and no other one with another mark."""
    return files.PNG + bytes([mark]) * (size - len(files.PNG))


def host(model: ScriptedModel, tool_images: Sequence[Image] = ()) -> AgentHost:
    """A host of an agent that is shown images, and that of a tool's before each call."""

    def add(_context: RequestContext, _messages: object) -> list[Message]:
        call = Message.assistant((ToolCall("1", "look", {}),))
        result = ToolResult("1", "look", "seen", images=tuple(tool_images))
        return [call, Message(role="tool", parts=(result,))]

    plugins = [define_plugin("looks", context_providers=[add])] if tool_images else []
    profile = Profile(id="a", model="scripted:m", images=True, context_window=1_000_000)
    config = AppConfig(
        profiles=[profile], providers=[model], plugins=plugins, store=MemorySessionStore()
    )
    return create_app(config).host


def asking(*contents: bytes) -> ChatRequest:
    attached = [
        Attachment(f"{number}.png", "image/png", each) for number, each in enumerate(contents)
    ]
    return ChatRequest("look", session_id="s", attachments=tuple(attached))


def shown(model: ScriptedModel) -> list[int | str]:
    """Returns what the last call shows: the size of each image, or the text in its place."""
    parts: list[Part] = [p for message in model.requests[-1].messages for p in message.parts]
    return [
        len(part.data) if isinstance(part, Image) else part.text
        for part in parts
        if isinstance(part, Image) or (isinstance(part, Text) and part.text.startswith("["))
    ]


async def test_the_newest_images_are_shown_up_to_a_number_of_bytes() -> None:
    model = ScriptedModel.repeat("Fine.")
    async with host(model) as running:
        for mark, size in enumerate([1_000, 6_000_000, 5_000_000, 4_000_000]):
            await running.chat(asking(png(size, mark)))

    # What is older than the first that does not fit goes too, however small it is.
    assert shown(model) == [LEFT_OUT, LEFT_OUT, 5_000_000, 4_000_000]


async def test_of_one_message_the_last_images_are_the_newest() -> None:
    model = ScriptedModel.repeat("Fine.")
    async with host(model) as running:
        await running.chat(asking(*(png(5_000_000, mark) for mark in range(3))))

    assert shown(model) == [LEFT_OUT, 5_000_000, 5_000_000]


async def test_an_image_that_never_fits_does_not_drive_out_the_others() -> None:
    model = ScriptedModel.repeat("Fine.")
    async with host(model) as running:
        await running.chat(asking(png(1_000)))
        await running.chat(asking(png(14_000_001)))

    assert shown(model) == [1_000, LEFT_OUT]


async def test_no_more_than_twenty_images_are_shown_the_same_one_counted_each_time() -> None:
    model = ScriptedModel.repeat("Fine.")
    async with host(model) as running:
        for _ in range(3):
            await running.chat(asking(*(png(100, mark) for mark in range(8))))

    assert shown(model) == [LEFT_OUT] * 4 + [100] * 20


async def test_images_of_tools_count_and_their_results_tell_what_is_left_out() -> None:
    model = ScriptedModel.repeat("Fine.")
    seen = [Image("image/png", png(6_000_000, mark)) for mark in range(3)]
    async with host(model, seen) as running:
        await running.chat(asking(png(1_000)))

    assert shown(model) == [1_000]
    (result,) = [
        part
        for message in model.requests[-1].messages
        for part in message.parts
        if isinstance(part, ToolResult)
    ]
    assert (result.content, result.images) == (f"seen\n{LEFT_OUT}", tuple(seen[1:]))


async def test_the_log_keeps_the_images_that_a_call_left_out() -> None:
    model = ScriptedModel.repeat("Fine.")
    async with host(model) as running:
        await running.chat(asking(*(png(6_000_000, mark) for mark in range(3))))
        log = await running.core.store.window("s", 1_000_000)

    (user,) = [message for message in log if message.role == "user"]
    assert len([part for part in user.parts if isinstance(part, Image)]) == 3
