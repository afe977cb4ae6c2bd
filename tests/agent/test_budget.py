"""One budget, made from the model's window: what a turn begins with fits in it."""

from collections.abc import Sequence

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentrail import ChatRequest, Limits, ModelRequest, Profile, ScriptedModel, tool
from agentrail.messages import estimate_spec_tokens, estimate_tokens
from agentrail.model.scripted import Said
from tests.agent.conftest import make_host

WINDOW = 1000


@tool
def look(what: str = "it") -> str:
    """Look something up."""
    return what


@pytest.mark.parametrize(("limits", "room"), [(Limits(), 6144), (Limits(max_tokens=1000), 7192)])
def test_the_answer_has_its_part_of_the_window(limits: Limits, room: int) -> None:
    assert Profile(id="a", model="m:x", limits=limits).room == room


def test_the_history_has_three_quarters_of_what_the_message_leaves() -> None:
    profile = Profile(id="a", model="m:x", context_window=1000)

    assert [profile.history_tokens(tokens) for tokens in (0, 350, 750, 9000)] == [562, 300, 0, 0]


sizes = st.lists(st.tuples(st.integers(1, 2200), st.integers(0, 3000)), min_size=1, max_size=12)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("compact", [True, False])
@settings(max_examples=25)
@given(sizes=sizes)
def test_what_a_turn_begins_with_fits_and_holds_what_it_can(
    backend: str, sizes: Sequence[tuple[int, int]], *, compact: bool
) -> None:
    answers = iter(["x" * size for _, size in sizes])

    def say(request: ModelRequest) -> Said:
        summary = request.messages[0].text.startswith("Summarize")
        return "in short" if summary else next(answers)

    model = ScriptedModel.repeat(say)

    async def main() -> None:
        async with make_host(
            model, [look], prompt="Be brief.", context_window=WINDOW, compact=compact
        ) as host:
            for question, _ in sizes:
                await host.chat(ChatRequest("q" * question, session_id="s"))
                while host.core.compacting:
                    await anyio.lowlevel.checkpoint()

    anyio.run(main, backend=backend)
    assert len(model.requests) >= len(sizes)
    for request in model.requests:
        taken = sum(map(estimate_tokens, request.messages))
        assert taken + estimate_spec_tokens(request.tools) <= WINDOW * 3 // 4
        assert request.messages[-1].role == "user"
    first_two = [request for request in model.requests if request.tools][:2]
    if len(first_two) > 1 and sum(map(sum, sizes[:2])) < 1000:
        roles = [message.role for message in first_two[1].messages]
        assert roles[-3:] == ["user", "assistant", "user"]
