"""An agent that makes text better, and whose prompt depends on the request."""

from agentrail import Limits, Profile, RequestContext
from profiles import MODEL, WINDOW


def prompt(context: RequestContext) -> str:
    """Return the system prompt, with the name of the person who asks."""
    return (
        f"You are an editor who works for {context.user_id}. "
        "Rewrite the text that you are given so that it is short and clear. "
        "Answer with the new text alone."
    )


editor = Profile(
    id="editor",
    name="Editor",
    model=MODEL,
    context_window=WINDOW,
    prompt=prompt,
    temperature=0.2,
    limits=Limits(max_tokens=400),
)
