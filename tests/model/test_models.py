"""References, and the providers behind them."""

import subprocess
import sys

import anyio.lowlevel
import pytest

from agentrail.errors import ConfigError, HostNotRunning, ModelReferenceError
from agentrail.messages import Message
from agentrail.model import (
    ModelReference,
    Models,
    ScriptedModel,
    default_providers,
)
from agentrail.requests import ModelReply, ModelRequest

pytestmark = pytest.mark.anyio

REQUEST = ModelRequest(model="m", messages=(Message.user("hi"),))


class Watched:
    """A provider that writes down its life in a log that it shares with others."""

    def __init__(self, name: str, log: list[str], fails: str = "") -> None:
        self.name = name
        self.log = log
        self.fails = fails

    def _note(self, what: str) -> None:
        self.log.append(f"{what} {self.name}")
        if self.fails == what:
            raise RuntimeError(self.name)

    async def start(self) -> None:
        await anyio.lowlevel.checkpoint()
        self._note("start")

    async def stop(self) -> None:
        await anyio.lowlevel.checkpoint()
        self._note("stop")

    async def complete(self, request: ModelRequest) -> ModelReply:
        self._note(f"ask {request.model} of")
        return ModelReply(message=Message.assistant(self.name))


@pytest.mark.parametrize(
    ("text", "provider", "model"),
    [
        ("openai:gpt-5-mini", "openai", "gpt-5-mini"),
        ("ollama:llama3:8b", "ollama", "llama3:8b"),
        (" a : b ", "a", "b"),
    ],
)
def test_a_reference_names_provider_and_model(text: str, provider: str, model: str) -> None:
    assert ModelReference.parse(text) == ModelReference(provider, model)


@pytest.mark.parametrize("text", ["", "gpt-5", ":m", "p:", " : ", ":"])
def test_half_a_reference_is_refused(text: str) -> None:
    with pytest.raises(ModelReferenceError, match="provider:model"):
        ModelReference.parse(text)


def test_an_unknown_provider_is_refused_with_the_known_ones() -> None:
    models = Models([ScriptedModel([])])

    with pytest.raises(
        ModelReferenceError, match="there are: anthropic, local, openai, openai-responses, scripted"
    ):
        models.call("opnai:gpt-5")


def test_two_providers_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="'scripted'"):
        Models([ScriptedModel([]), ScriptedModel([])])


async def test_an_own_provider_takes_the_place_of_a_default_one() -> None:
    models = Models([ScriptedModel(["mine"], name="openai")])
    await models.start(["openai:x"])

    assert (await models.call("openai:x")(REQUEST)).message.text == "mine"


async def test_providers_start_in_order_once_and_stop_in_reverse() -> None:
    log: list[str] = []
    models = Models([Watched(name, log) for name in "abc"])

    await models.start(["b:x", "a:x", "b:y"])
    await models.call("a:x")(REQUEST)
    await models.stop()

    assert log == ["start b", "start a", "ask m of a", "stop a", "stop b"]


async def test_first_calls_at_the_same_time_wait_for_one_start() -> None:
    log: list[str] = []
    models = Models([Watched("a", log)])
    await models.start()

    async def ask() -> None:
        await models.call("a:x")(REQUEST)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
    await models.stop()

    assert log == ["start a", *["ask m of a"] * 3, "stop a"]


async def test_a_failed_start_stops_what_had_started() -> None:
    log: list[str] = []
    models = Models([Watched("a", log), Watched("b", log, fails="start")])

    with pytest.raises(RuntimeError, match="b"):
        await models.start(["a:x", "b:x"])

    assert log == ["start a", "start b", "stop a"]
    with pytest.raises(HostNotRunning):
        await models.call("a:x")(REQUEST)


async def test_a_cancelled_start_stops_what_had_started() -> None:
    log: list[str] = []

    class Endless(Watched):
        async def start(self) -> None:
            scope.cancel()
            await anyio.sleep_forever()

    models = Models([Watched("a", log), Endless("b", log)])
    with anyio.CancelScope() as scope:
        await models.start(["a:x", "b:x"])

    assert scope.cancelled_caught
    assert log == ["start a", "stop a"]


async def test_a_failed_first_start_is_tried_again_by_the_next_call() -> None:
    log: list[str] = []
    provider = Watched("a", log, fails="start")
    models = Models([provider])
    await models.start()

    with pytest.raises(RuntimeError):
        await models.call("a:x")(REQUEST)
    provider.fails = ""
    await models.call("a:x")(REQUEST)

    assert log == ["start a", "start a", "ask m of a"]


async def test_every_provider_is_stopped_when_one_fails_to() -> None:
    log: list[str] = []
    models = Models([Watched("a", log), Watched("b", log, fails="stop")])
    await models.start(["a:x", "b:x"])

    with pytest.raises(RuntimeError, match="b"):
        await models.stop()

    assert log[-2:] == ["stop b", "stop a"]


async def test_the_last_error_of_a_stop_goes_out() -> None:
    models = Models([Watched(name, [], fails="stop") for name in "ab"])
    await models.start(["a:x", "b:x"])

    with pytest.raises(RuntimeError, match="a"):
        await models.stop()
    await models.stop()


async def test_a_cancelled_stop_is_finished() -> None:
    log: list[str] = []
    models = Models([Watched("a", log)])
    await models.start(["a:x"])

    with anyio.CancelScope() as scope:
        scope.cancel()
        await models.stop()

    assert log == ["start a", "stop a"]


async def test_nothing_is_asked_before_the_start_or_after_the_stop() -> None:
    log: list[str] = []
    models = Models([Watched("a", log)])
    call = models.call("a:x")

    with pytest.raises(HostNotRunning):
        await call(REQUEST)
    await models.start(["a:x"])
    await models.stop()
    with pytest.raises(HostNotRunning):
        await call(REQUEST)

    assert log == ["start a", "stop a"]


async def test_models_start_again_after_a_stop() -> None:
    log: list[str] = []
    models = Models([Watched("a", log)])
    for _ in range(2):
        await models.start(["a:x"])
        await models.stop()

    assert log == ["start a", "stop a"] * 2


async def test_the_default_providers_are_made_when_they_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in (
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_BASE_URL",
    ):
        monkeypatch.delenv(variable, raising=False)
    openai, responses, anthropic, local = default_providers()

    names = [provider.name for provider in (openai, responses, anthropic, local)]
    assert names == ["openai", "openai-responses", "anthropic", "local"]
    with pytest.raises(HostNotRunning):
        await local.complete(REQUEST)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        await openai.start()
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        await responses.start()
    with pytest.raises(ConfigError, match="ANTHROPIC_API_KEY"):
        await anthropic.start()
    for provider in (openai, responses, anthropic, local):
        await provider.stop()


def test_the_slice_itself_imports_no_http_client() -> None:
    code = (
        "import sys, agentrail.model; "
        "names = *(f'agentrail.model.{n}' for n in ('openai', 'anthropic', 'local')), 'httpx'; "
        "print([name for name in names if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
