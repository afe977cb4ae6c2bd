"""Reasoning that an upstream signed, and what becomes of it when the upstream is another one."""

import json

import pytest

from agentrail.errors import ModelError
from agentrail.messages import Message, Reasoning, Text
from agentrail.requests import ModelRequest
from tests.model.upstream import Answer, Json, refuses
from tests.model.wires import CHAT, MESSAGES, RESPONSES, Format, asking

pytestmark = pytest.mark.anyio

THOUGHT = Reasoning(text="hm", signature="rs_1 signed==", source="test")
CONVERSATION = (
    Message.user("hi"),
    Message.assistant((THOUGHT, Text(text="hello"))),
    Message.user("and?"),
)
REQUEST = ModelRequest(model="m", messages=CONVERSATION)

REFUSALS: dict[str, Json] = {
    "responses": {
        "error": {
            "code": "invalid_encrypted_content",
            "type": "invalid_request_error",
            "message": "The encrypted content for item rs_1 could not be verified.",
        }
    },
    "messages": {
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "message": "messages.1.content.0: Invalid `signature` in `thinking` block",
        },
    },
}

signing = pytest.mark.parametrize("spoken", [RESPONSES, MESSAGES], ids=["responses", "messages"])


def refusal(spoken: Format) -> Answer:
    return refuses(400, REFUSALS[spoken.name])


@signing
async def test_an_upstream_that_does_not_know_it_is_asked_without(spoken: Format) -> None:
    async with asking(spoken, refusal(spoken), spoken.says("fine")) as (provider, upstream):
        reply = await provider.complete(REQUEST)

    assert reply.message.text == "fine"
    told = ["signed==" in json.dumps(request.body) for request in upstream.requests]
    assert told == [True, False]
    assert all("hello" in json.dumps(request.body) for request in upstream.requests)


@signing
async def test_an_upstream_that_goes_on_refusing_is_asked_twice(spoken: Format) -> None:
    async with asking(spoken, refusal(spoken)) as (provider, upstream):
        with pytest.raises(ModelError) as caught:
            await provider.complete(REQUEST)

    assert caught.value.code == "model_failed"
    assert len(upstream.requests) == 2


async def test_an_api_that_signs_nothing_is_told_no_signature() -> None:
    async with asking(CHAT, CHAT.says("fine")) as (provider, upstream):
        await provider.complete(REQUEST)

    assert "signed==" not in json.dumps(upstream.requests[0].body)
