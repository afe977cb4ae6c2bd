"""What fits together, what does not, and that all of it is said at once."""

from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response

from agentrail import (
    AppConfig,
    ChatRequest,
    Host,
    MemorySessionStore,
    Message,
    Profile,
    RequestContext,
    Route,
    ScriptedModel,
    create_app,
    define_plugin,
    tool,
)
from agentrail.errors import CompositionError, ConfigRefused
from agentrail.host import AgentHost
from agentrail.requests import ModelReply, ModelRequest
from agentrail.settings import Configuration, SettingsSource
from agentrail.tool import deny


@tool
def ping() -> str:
    """Answer."""
    return "pong"


def compose(*profiles: Profile, **config: object) -> AgentHost:
    config.setdefault("providers", [ScriptedModel([])])
    config.setdefault("store", MemorySessionStore())
    return create_app(AppConfig(profiles=profiles, **config)).host  # type: ignore[arg-type]


def test_all_faults_are_listed_at_once() -> None:
    profiles = [
        Profile(id="no colon", model="gpt"),
        Profile(id="twice", model="scripted:x", tools=[ping]),
        Profile(id="twice", model="nobody:x"),
    ]
    plugins = [define_plugin("a", tools=[ping]), define_plugin("a", deadlines={"on_start": 1})]
    with pytest.raises(CompositionError) as caught:
        compose(*profiles, plugins=plugins)
    said = "\n".join(caught.value.faults)
    for expected in ("no colon", "two profiles have the id 'twice'", "nobody", "ping", "on_start"):
        assert expected in said
    assert "two plugins are named 'a'" in said


@pytest.mark.anyio
async def test_a_host_without_a_profile_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(CompositionError, match="at least one"):
        await create_app(AppConfig(profiles=[], data_dir=tmp_path)).host.__aenter__()
    with pytest.raises(CompositionError, match="at least one"):
        create_app(AppConfig(profiles=[], data_dir=tmp_path), SettingsSource(None, {}))


@pytest.mark.anyio
async def test_settings_may_bring_the_only_profiles_of_an_application(tmp_path: Path) -> None:
    file = tmp_path / "agentrail.yaml"
    file.write_text("profiles: [{id: only, model: 'scripted:m'}]\n")
    base = create_app(AppConfig(profiles=[], providers=[ScriptedModel(["Hi."])], data_dir=tmp_path))
    settings = SettingsSource(file, {"AGENTRAIL_RELOAD__WATCH": "false"})
    async with create_app(base.host.core.config, settings).host as host:
        assert (await host.chat(ChatRequest("Hello?"))).message == "Hi."
        file.write_text("profiles: []\n")
        with pytest.raises(ConfigRefused, match="at least one"):
            await host.part(Configuration).reload("ada")
        assert host.composition.default_agent == "only"


def test_a_path_without_its_slash_is_refused() -> None:
    async def answer(_request: Request, _host: Host) -> Response:
        return Response()

    with pytest.raises(CompositionError, match="route 'ping': its path must begin with a slash"):
        compose(Profile(id="a", model="scripted:x"), routes=[Route(path="ping", endpoint=answer)])


def test_a_permission_with_a_slip_is_refused_by_the_name_of_its_profile() -> None:
    rules = [deny("pnig"), deny("ping", at="noon")]
    with pytest.raises(CompositionError) as caught:
        compose(
            Profile(id="a", model="scripted:x", tools=[ping], permissions=rules),
            Profile(id="b", model="scripted:x", permissions=[deny("ping")]),
        )
    assert caught.value.faults == (
        "profile 'a': deny('pnig') is about no tool of ping; did you mean 'ping'?",
        "profile 'a': deny('ping'): 'at' is no argument of ping; there are: none",
        "profile 'b': deny('ping') is about no tool: the profile has none",
    )


def test_a_model_reference_without_a_provider_is_refused_with_the_form_it_should_have() -> None:
    with pytest.raises(CompositionError, match="provider:model"):
        compose(Profile(id="a", model="gpt-5"))


def test_composing_starts_and_opens_nothing() -> None:
    started: list[str] = []
    compose(
        Profile(id="a", model="scripted:x"),
        plugins=[define_plugin("p", start=lambda: started.append("p"))],
    )
    assert started == []


def test_a_profile_keeps_its_id_and_name_and_the_first_is_the_default() -> None:
    host = compose(
        Profile(id="one", name="The One", model="scripted:x"), Profile(id="two", model="scripted:y")
    )
    assert host.agents() == {"one": "The One", "two": "two"}
    assert host.composition.default_agent == "one"


async def test_each_profile_calls_its_own_model_with_its_own_prompt_and_tools() -> None:
    model = ScriptedModel(["from one", "from two"])

    def prompt(context: RequestContext) -> str:
        return f"You serve {context.user_id}."

    one = Profile(id="one", model="scripted:big", prompt="You are one.", tools=[ping])
    two = Profile(id="two", model="scripted:a:b", prompt=prompt, temperature=0.5)
    async with compose(one, two, providers=[model]) as host:
        assert (await host.chat(ChatRequest("hi"))).message == "from one"
        request = ChatRequest("hi", agent_id="two", user_id="ada")
        response = await host.chat(request)
        assert (response.message, response.agent_id) == ("from two", "two")
    first, second = model.requests
    assert (first.model, [spec.name for spec in first.tools]) == ("big", ["ping"])
    assert first.messages[0] == Message.system("You are one.")
    assert (second.model, second.tools, second.temperature) == ("a:b", (), 0.5)
    assert second.messages[0] == Message.system("You serve ada.")


async def test_an_async_prompt_is_awaited_and_an_empty_one_left_out() -> None:
    model = ScriptedModel(["a", "b"])

    async def prompt(_context: RequestContext) -> str:
        return "made late"

    one = Profile(id="one", model="scripted:x", prompt=prompt)
    two = Profile(id="two", model="scripted:x")
    async with compose(one, two, providers=[model]) as host:
        await host.chat(ChatRequest("hi"))
        await host.chat(ChatRequest("hi", agent_id="two"))
    assert [message.text for message in model.requests[0].messages] == ["made late", "hi"]
    assert [message.text for message in model.requests[1].messages] == ["hi"]


def test_the_window_leaves_room_for_the_answer_the_prompt_and_the_message() -> None:
    profile = Profile(id="a", model="scripted:x", context_window=1000)
    assert profile.history_tokens(0) == 562
    assert profile.history_tokens(250) == 375
    assert profile.history_tokens(5000) == 0


async def test_a_provider_of_the_application_takes_the_place_of_a_default_one() -> None:
    class Mine:
        name = "openai"

        async def start(self) -> None: ...

        async def stop(self) -> None: ...

        async def complete(self, request: ModelRequest) -> ModelReply:
            return ModelReply(message=Message.assistant(f"my {request.model}"))

    async with compose(Profile(id="a", model="openai:gpt"), providers=[Mine()]) as host:
        assert (await host.chat(ChatRequest("hi"))).message == "my gpt"
