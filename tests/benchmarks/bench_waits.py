"""What waiting side by side costs, against waiting once.

Ten context providers that each wait 20 ms, and eight calls of a tool that does, in one turn: the
ratio says how much longer the turn takes than one with a single provider, or a single call.
"""

import importlib.util
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    MemorySessionStore,
    Message,
    ModelReply,
    ModelRequest,
    Profile,
    RequestContext,
    Tool,
    create_app,
    tool,
)
from agentrail.host import AgentHost
from agentrail.model import call_tools

ROUNDS = 25
WAIT = 0.02
Work = Callable[[], Awaitable[object]]


class Calling:
    """A model that asks for so many tool calls as its name says, and then answers."""

    name = "calling"

    async def start(self) -> None:
        """Open nothing."""

    async def stop(self) -> None:
        """Close nothing."""

    async def complete(self, request: ModelRequest) -> ModelReply:
        """Call tools, or answer what they returned."""
        count = int(request.model)
        if count and request.messages[-1].role == "user":
            return call_tools(*[("wait", {"number": number}) for number in range(count)])
        return ModelReply(message=Message.assistant("done"))


@tool(concurrent=True)
async def wait(number: int) -> int:
    """Wait."""
    await anyio.sleep(WAIT)
    return number


async def provider(_context: RequestContext, _messages: Sequence[Message]) -> list[Message]:
    """Say nothing, after a wait."""
    await anyio.sleep(WAIT)
    return []


def host_of(calls: int, providers: int, tools: Sequence[Tool] = ()) -> AgentHost:
    """Return a host whose turns wait so often."""
    profile = Profile(
        id="a",
        model=f"calling:{calls}",
        context_providers=[provider] * providers,
        tools=tools,
        compact=False,
    )
    config = AppConfig(profiles=[profile], providers=[Calling()], store=MemorySessionStore())
    return create_app(config).host


async def compare(title: str, hosts: Mapping[str, AgentHost]) -> None:
    """Print the median time of a turn of each host, and its ratio to the first one's."""
    found: dict[str, list[float]] = {name: [] for name in hosts}
    for _ in range(ROUNDS):
        for name, host in hosts.items():
            async with host:
                request = ChatRequest("a short question")
                await host.chat(request)
                began = time.perf_counter()
                await host.chat(request)
                found[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(times) * 1e3 for name, times in found.items()}
    one = next(iter(medians.values()))
    print(f"\n{title}")
    for name, value in medians.items():
        print(f"  {name:34} {value:9.2f} ms  {value / one:6.2f}x")


async def main() -> None:
    """Measure both."""
    await compare(
        "A turn with context providers that wait 20 ms",
        {f"{count} of them": host_of(0, count) for count in (1, 10)},
    )
    await compare(
        "A turn with calls, safe side by side, that wait 20 ms",
        {f"{count} of them": host_of(count, 0, [wait]) for count in (1, 8)},
    )


if __name__ == "__main__":
    for backend in ("asyncio", "trio"):
        if importlib.util.find_spec(backend) is not None:
            print(f"\n== {backend}")
            anyio.run(main, backend=backend)
