from itertools import cycle

from agentrail import (
    AppConfig,
    ChatRequest,
    ChatResponse,
    Profile,
    RequestContext,
    ScriptedModel,
    create_app,
    define_plugin,
    tool,
)
from agentrail.model import call_tools


@tool
def count_letter(word: str, letter: str) -> int:
    """Count how often a letter is in a word."""
    return word.count(letter)


# region history
async def history(request: ChatRequest, context: RequestContext) -> ChatResponse | None:
    if request.text != "/history":
        return None
    messages = await context.services.session.messages()
    return ChatResponse(f"{len(messages)} messages")


commands = define_plugin("commands", intercept_chat_request=history)
# endregion

assistant = Profile(id="assistant", model="scripted:any", prompt="Be brief.", tools=[count_letter])
model = ScriptedModel(
    cycle([call_tools(("count_letter", {"word": "strawberry", "letter": "r"})), "There are three."])
)

# region app
app = create_app(AppConfig(profiles=[assistant], providers=[model], plugins=[commands]))
# endregion
