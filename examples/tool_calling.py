"""A tool, called by a scripted model, and the events that a reader sees of it."""

import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    MemorySessionStore,
    Profile,
    ScriptedModel,
    ToolError,
    create_app,
    tool,
)
from agentrail.events import MessageDelta, ToolEnd, ToolStart, TurnEnd
from agentrail.model import call_tools

DISTANCES = {("Paris", "Rome"): 1105, ("Paris", "Oslo"): 1343}


@tool
def distance(start: str, end: str) -> int:
    """Tell the distance between two cities, in kilometers.

    Args:
        start: the city to start from.
        end: the city to go to.
    """
    if (start, end) not in DISTANCES:
        raise ToolError(f"the distance from {start} to {end} is not known")
    return DISTANCES[start, end]


async def main() -> None:
    model = ScriptedModel(
        [
            call_tools(("distance", {"start": "Paris", "end": "Rome"})),
            call_tools(("distance", {"start": "Paris", "end": "Atlantis"})),
            "It is 1105 km to Rome. Nobody knows how far Atlantis is.",
        ]
    )
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any", tools=[distance])],
            providers=[model],
            store=MemorySessionStore(),
        )
    )
    outcomes: list[str] = []
    text = ""
    async with app.host as host, host.stream(ChatRequest("How far are they?")) as events:
        async for event in events:
            match event:
                case ToolStart(name=name, arguments=arguments):
                    print(f"{name} {dict(arguments)}")
                case ToolEnd(outcome=outcome, content=content):
                    print(f"  {outcome}: {content}")
                    outcomes.append(outcome)
                case MessageDelta():
                    text += event.text
                case TurnEnd(message=message):
                    print(message)
                    assert message == text
                case _:
                    pass
    assert outcomes == ["ok", "error"]


if __name__ == "__main__":
    anyio.run(main)
