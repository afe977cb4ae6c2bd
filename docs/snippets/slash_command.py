from collections.abc import AsyncIterator
from datetime import date
from typing import Literal

import anyio

from agentrail import (
    AgentHost,
    AppConfig,
    ChatRequest,
    ChatResponse,
    Commands,
    MemorySessionStore,
    Message,
    Principal,
    Profile,
    RequestContext,
    ScriptedModel,
    command,
    create_app,
    standard_routes,
)
from agentrail.route import commands_route

notes: dict[str, list[str]] = {}


# region command
@command
async def note(
    context: RequestContext,
    text: str,
    *,
    kind: Literal["idea", "task"] = "idea",
    due: date | None = None,
    urgent: bool = False,
) -> str:
    """Note something.

    Args:
        text: what to note
        kind: what it is
        due: when it has to be done
        urgent: whether it cannot wait
    """
    mark = "!" if urgent else ""
    notes.setdefault(context.user_id, []).append(f"{kind}{mark}: {text}")
    return f"Noted, due {due}." if due else "Noted."


# endregion


# region answer
@command(scope="user")
async def notes_of_mine(context: RequestContext) -> ChatResponse:
    """List my notes."""
    mine = notes.get(context.user_id)
    if not mine:
        return ChatResponse("There are no notes.", status=404)
    return ChatResponse("\n".join(mine))


# endregion


# region stream
@command(keep=True, seconds=300)
async def tell(context: RequestContext, topic: str) -> AsyncIterator[str]:
    """Tell about a topic."""
    question = Message.user(f"Tell me about {topic}.")
    async for piece in context.services.model().stream([question]):
        yield piece


# endregion


# region admin
@command(scope="admin", background=True)
async def rebuild() -> str:
    """Build the index anew."""
    await build_index()
    return "the index has 3 notes."


# endregion


async def build_index() -> None:
    built.set()


built = anyio.Event()
model = ScriptedModel(["Hooks are called in order."])
profiles = [Profile(id="assistant", model="scripted:any")]

# region compose
commands = Commands([note, notes_of_mine, tell, rebuild])

app = create_app(
    AppConfig(
        profiles=profiles,
        providers=[model],
        plugins=[commands],
        routes=[*standard_routes(), commands_route(commands)],
        store=MemorySessionStore(),
    )
)
# endregion


async def main() -> None:
    async with app.host as host:
        await check(host)


async def check(host: AgentHost) -> None:
    answer = await host.chat(ChatRequest("/note --kind task --due 2026-02-03 don't panic --urgent"))
    assert answer.message == "Noted, due 2026-02-03."
    assert notes == {"local": ["task!: don't panic"]}
    answer = await host.chat(ChatRequest("/notes-of-mine"))
    assert answer.message == "task!: don't panic"
    answer = await host.chat(ChatRequest("/note --kind poem roses"))
    assert answer.status == 422
    print(answer.message)
    answer = await host.chat(ChatRequest("/tel hooks"))
    assert answer.status == 404
    print(answer.message)
    answer = await host.chat(ChatRequest("/tell hooks", "s1"))
    assert answer.message == "Hooks are called in order."
    assert (await host.chat(ChatRequest("/rebuild"))).status == 403
    admin = Principal(user_id="ada", roles=frozenset({"admin"}))
    assert (await host.chat(ChatRequest("/rebuild"), principal=admin)).status == 202
    await built.wait()
    print((await host.chat(ChatRequest("/help note"))).message)


anyio.run(main)
