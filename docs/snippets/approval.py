import anyio

# region app
from agentrail import (
    AppConfig,
    ChatRequest,
    Message,
    ModelReply,
    ModelRequest,
    Principal,
    Profile,
    ScriptedModel,
    create_app,
    tool,
)
from agentrail.model import call_tools
from agentrail.requests import Resume
from agentrail.tool import ask


@tool
def send(to: str) -> str:
    """Send a letter."""
    return f"the letter to {to} is sent"


def say(request: ModelRequest) -> ModelReply:
    """Stand in for a model: two letters, and then what became of them."""
    if request.messages[-1].role == "user":
        return call_tools(("send", {"to": "ada"}), ("send", {"to": "bob"}))
    return ModelReply(message=Message.assistant("That is done."))


secretary = Profile(
    id="secretary",
    model="scripted:any",
    tools=[send],
    permissions=[ask("send", reason="letters cannot be called back")],
)
app = create_app(AppConfig(profiles=[secretary], providers=[ScriptedModel.repeat(say)]))
# endregion


async def main() -> None:
    async with app.host as host:
        # region python
        response = await host.chat(ChatRequest("Write to Ada and Bob.", user_id="grace"))
        assert response.outcome == "suspended"

        grace = Principal(user_id="grace")
        for asked in response.approvals:
            to_ada = asked.call.arguments["to"] == "ada"
            await host.decide(grace, response.turn_id, asked.call.id, approved=to_ada)

        response = await host.chat(Resume(response.turn_id), principal=grace)
        assert response.outcome == "completed"
        # endregion
        status = await host.turn(grace, response.turn_id)
        assert (status.status, status.approvals) == ("completed", ())


if __name__ == "__main__":
    anyio.run(main)
