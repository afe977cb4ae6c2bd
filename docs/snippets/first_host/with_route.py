# region imports
from itertools import cycle

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from agentrail import (
    AppConfig,
    ChatRequest,
    ChatResponse,
    Host,
    Profile,
    RequestContext,
    Route,
    ScriptedModel,
    create_app,
    define_plugin,
    standard_routes,
    tool,
)
from agentrail.model import call_tools
from agentrail.route import principal_of

# endregion


@tool
def count_letter(word: str, letter: str) -> int:
    """Count how often a letter is in a word."""
    return word.count(letter)


async def history(request: ChatRequest, context: RequestContext) -> ChatResponse | None:
    if request.text != "/history":
        return None
    messages = await context.services.session.messages()
    return ChatResponse(f"{len(messages)} messages")


commands = define_plugin("commands", intercept_chat_request=history)


# region route
async def ask(request: Request, host: Host) -> Response:
    question = ChatRequest(request.query_params.get("q", ""), session_id="terminal")
    answer = await host.chat(question, principal=principal_of(request), transport="ask")
    return PlainTextResponse(f"{answer.message}\n")


# endregion

assistant = Profile(id="assistant", model="scripted:any", prompt="Be brief.", tools=[count_letter])
model = ScriptedModel(
    cycle([call_tools(("count_letter", {"word": "strawberry", "letter": "r"})), "There are three."])
)

# region app
app = create_app(
    AppConfig(
        profiles=[assistant],
        providers=[model],
        plugins=[commands],
        routes=[*standard_routes(), Route(path="/ask", endpoint=ask)],
    )
)
# endregion
