from collections.abc import Iterable, Sequence

import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    Commands,
    Principal,
    Profile,
    ScriptedModel,
    create_app,
)

# region compose
from agentrail.memory import Memory

memory = Memory("memory.db")
commands = Commands([*memory.commands])
# endregion


# region embed
def letters(texts: Sequence[str]) -> Iterable[Iterable[float]]:
    """Ask a model of your own; this one counts letters."""
    return [[text.count(letter) for letter in "aeiou"] for text in texts]


other = Memory("other.db", embed=letters)
# endregion


async def main() -> None:
    model = ScriptedModel.repeat("Noted.")
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any")],
            providers=[model],
            plugins=[commands, memory],
            data_dir=".",
        )
    )
    async with app.host as host:
        await host.chat(ChatRequest("My parrot is named Captain Flint.", session_id="one"))
        await host.chat(ChatRequest("What is the name of my parrot?", session_id="two"))
        shown = [message.text for message in model.requests[-1].messages]
        print(shown[0])
        assert "user: My parrot is named Captain Flint." in shown[0]

        # region use
        me = Principal(tenant_id="default", user_id="local")
        found = await memory.search(me, "Captain Flint")
        print([(turn.asked, turn.session_id, turn.at) for turn in found])
        await memory.forget(me, turn_id=found[0].turn_id)
        # endregion
        assert await memory.search(me, "Captain Flint") == []

    await other.start()
    await other.settled()
    await other.stop()


anyio.run(main)
