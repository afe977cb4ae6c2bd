"""One model after another, until one is in order."""

import logging

import pytest

from agentrail.errors import (
    CircuitOpen,
    ContextTooLong,
    ModelError,
    ModelNotFound,
    ModelProtocolError,
    ModelReferenceError,
    ModelRefused,
    ModelUnauthorized,
    ModelUnavailable,
    Overloaded,
    QuotaExhausted,
    RateLimited,
)
from agentrail.messages import Message
from agentrail.model import Models, ScriptedModel
from agentrail.model.scripted import Scripted
from agentrail.requests import Delta, ModelReply, ModelRequest

pytestmark = pytest.mark.anyio

REQUEST = ModelRequest(model="asked", messages=(Message.user("hi"),), temperature=0.5)


class Chain:
    """Three providers, ``a``, ``b`` and ``c``, asked in this order."""

    def __init__(self, *says: Scripted) -> None:
        self.providers = [
            ScriptedModel.repeat(said, name) for name, said in zip("abc", says, strict=False)
        ]
        self.models = Models(self.providers)
        self.references = [f"{provider.name}:of-{provider.name}" for provider in self.providers]
        self.emitted: list[str] = []

    async def ask(self) -> ModelReply:
        async def emit(delta: Delta) -> None:
            self.emitted.append(delta.text)

        await self.models.start()
        asked = ModelRequest(model="asked", messages=REQUEST.messages, temperature=0.5, emit=emit)
        return await self.models.first_of(self.references)(asked)

    @property
    def asked(self) -> list[str]:
        return [request.model for provider in self.providers for request in provider.requests]


@pytest.mark.parametrize(
    "error",
    [
        Overloaded("no"),
        RateLimited("no", retry_after=1.0),
        ModelUnavailable("no"),
        ModelProtocolError("no"),
        CircuitOpen("no"),
        ModelUnauthorized("no"),
        QuotaExhausted("no"),
        ModelNotFound("no"),
    ],
)
async def test_the_next_model_is_asked_when_one_is_out_of_order(
    error: ModelError, caplog: pytest.LogCaptureFixture
) -> None:
    chain = Chain(error, "ok", "never")

    with caplog.at_level(logging.WARNING):
        reply = await chain.ask()

    assert (reply.message.text, reply.model) == ("ok", "b:of-b")
    assert chain.asked == ["asked", "of-b"]
    assert chain.emitted == ["ok"]
    assert "'b:of-b' is asked instead" in caplog.text
    (second,) = chain.providers[1].requests
    assert (second.provider, second.temperature) == ("b", 0.5)


@pytest.mark.parametrize("error", [ContextTooLong("no"), ModelRefused("no"), ModelError("no")])
async def test_an_error_that_speaks_of_the_request_goes_out_at_once(error: ModelError) -> None:
    chain = Chain(error, "never")

    with pytest.raises(type(error)) as caught:
        await chain.ask()

    assert caught.value is error
    assert chain.asked == ["asked"]


async def test_the_last_models_error_goes_out() -> None:
    chain = Chain(Overloaded("a"), ModelUnauthorized("b"), Overloaded("c"))

    with pytest.raises(Overloaded, match="c"):
        await chain.ask()

    assert chain.asked == ["asked", "of-b", "of-c"]


async def test_what_a_reader_has_seen_of_one_model_no_other_goes_on_with() -> None:
    class Breaks(ScriptedModel):
        async def complete(self, request: ModelRequest) -> ModelReply:
            await request.emit(Delta(text="half"))
            raise ModelUnavailable("broke off")

    good = ScriptedModel(["never"], "good")
    models = Models([Breaks([], "bad"), good])
    await models.start()

    with pytest.raises(ModelUnavailable, match="broke off"):
        await models.first_of(["bad:x", "good:y"])(REQUEST)

    assert not good.requests


async def test_a_model_that_is_left_alone_is_passed_over() -> None:
    chain = Chain(RateLimited("no", retry_after=60.0), "ok")

    for _ in range(3):
        assert (await chain.ask()).message.text == "ok"

    assert chain.asked == ["asked", "of-b", "of-b", "of-b"]


async def test_two_models_of_one_provider_may_follow_each_other() -> None:
    def say(request: ModelRequest) -> str | Exception:
        return Overloaded("no") if request.model == "asked" else request.model

    models = Models([ScriptedModel.repeat(say)])
    await models.start()

    reply = await models.first_of(["scripted:big", "scripted:small"])(REQUEST)

    assert (reply.message.text, reply.model) == ("small", "scripted:small")


def test_one_reference_is_an_ordinary_call() -> None:
    models = Models([ScriptedModel(["ok"])])

    assert models.first_of(["scripted:x"]) == models.call("scripted:x")


async def test_a_reply_names_the_model_that_gave_it_whatever_its_provider_says() -> None:
    said = ModelReply(message=Message.assistant("ok"), model="other:model")
    models = Models([ScriptedModel([said])])
    await models.start()

    assert (await models.call("scripted:x")(REQUEST)).model == "scripted:asked"


def test_a_wrong_reference_is_refused_wherever_it_stands() -> None:
    models = Models([ScriptedModel(["ok"])])

    with pytest.raises(ModelReferenceError, match="nobody"):
        models.first_of(["scripted:x", "nobody:y"])


async def test_a_limit_of_one_model_does_not_pass_over_its_sibling() -> None:
    def say(request: ModelRequest) -> str | Exception:
        limit = RateLimited("no", retry_after=60.0)
        return limit if request.model == "asked" else request.model

    provider = ScriptedModel.repeat(say)
    models = Models([provider])
    await models.start()
    call = models.first_of(["scripted:asked", "scripted:small"])

    assert [(await call(REQUEST)).message.text for _ in range(2)] == ["small", "small"]
    assert [request.model for request in provider.requests] == ["asked", "small", "small"]
