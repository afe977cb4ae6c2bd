from collections.abc import Sequence

import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    MemorySessionStore,
    Profile,
    ScriptedModel,
    ToolResult,
    create_app,
    tool,
)
from agentrail.model import call_tools
from agentrail.tool import Rule, allow, ask, deny


@tool
async def read_file(path: str) -> str:
    """Read a file."""
    return f"what is in {path}"


@tool
async def write_file(path: str, text: str) -> str:
    """Write a file."""
    return f"{len(text)} characters are in {path}"


@tool
async def fetch(url: str) -> str:
    """Fetch a page."""
    return f"what is at {url}"


# region rules
PERMISSIONS = [
    allow("read_file", path="docs/**"),
    deny("read_file", path="docs/private/**", reason="these are nobody's business"),
    ask("write_file", reason="it changes files"),
    allow("write_file", path="drafts/*.md"),
    deny("fetch"),
    allow("fetch", url="https://example.com/**"),
]

assistant = Profile(
    id="assistant",
    model="scripted:any",
    tools=[read_file, write_file, fetch],
    permissions=PERMISSIONS,
)
# endregion

# region closed
CLOSED = [deny(), allow("read_file")]
# endregion

CALLS = (
    ("read_file", {"path": "docs/a/b.md"}, "ok"),
    ("read_file", {"path": "docs/private/a.md"}, "denied"),
    ("read_file", {"path": "docs/../app.py"}, "denied"),
    ("read_file", {"path": "app.py"}, "denied"),
    ("write_file", {"path": "drafts/a.md", "text": "…"}, "ok"),
    ("fetch", {"url": "https://example.com/a"}, "ok"),
    ("fetch", {"url": "https://example.com.elsewhere/a"}, "denied"),
)


async def outcomes(rules: Sequence[Rule]) -> list[str]:
    calls = call_tools(*((name, arguments) for name, arguments, _ in CALLS))
    model = ScriptedModel([calls, "Done."])
    profile = Profile(
        id="assistant", model="scripted:any", tools=assistant.tools, permissions=rules
    )
    config = AppConfig(profiles=[profile], providers=[model], store=MemorySessionStore())
    async with create_app(config).host as host:
        await host.chat(ChatRequest("Look around."))
    parts = [message.parts[0] for message in model.requests[1].messages]
    return [part.outcome for part in parts if isinstance(part, ToolResult)]


async def main() -> None:
    assert await outcomes(PERMISSIONS) == [wanted for _, _, wanted in CALLS]
    assert await outcomes(CLOSED) == ["ok"] * 4 + ["denied"] * 3


anyio.run(main)
