"""The agent that answers when a request names none."""

from agentrail import Limits, Profile
from profiles import MODEL, WINDOW

assistant = Profile(
    id="assistant",
    name="Assistant",
    model=MODEL,
    context_window=WINDOW,
    prompt="You are a helpful assistant. Answer in a few plain sentences.",
    limits=Limits(max_tokens=400),
)
