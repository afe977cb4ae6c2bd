"""Slash commands: messages that the host answers itself.  ``app.py`` lists them."""

from collections.abc import AsyncIterator

from agentrail import Message, RequestContext, command

SUMMARY_PROMPT = "Summarize the conversation that follows in three short sentences."


@command
async def reset(context: RequestContext) -> str:
    """Let the conversation begin anew; its history is kept."""
    await context.services.session.reset()
    return "The conversation begins anew."


@command
async def summarize(context: RequestContext) -> AsyncIterator[str]:
    """Summarize the conversation so far."""
    messages = await context.services.session.messages()
    said = "\n".join(f"{each.role}: {each.text}" for each in messages if each.text)
    if not said:
        yield "There is nothing to summarize yet."
        return
    request = [Message.system(SUMMARY_PROMPT), Message.user(said)]
    async for piece in context.services.model().stream(request):
        yield piece
