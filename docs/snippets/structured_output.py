from dataclasses import dataclass
from typing import Annotated, Literal

import anyio
from msgspec import Meta

from agentrail import AppConfig, ChatRequest, MemorySessionStore, Profile, ScriptedModel, create_app
from agentrail.errors import OutputInvalid


# region type
@dataclass
class Line:
    article: str
    count: Annotated[int, Meta(ge=1)]


@dataclass
class Order:
    lines: list[Line]
    delivery: Literal["today", "later"] = "later"


clerk = Profile(
    id="clerk",
    model="scripted:any",
    prompt="Read the order out of what the customer writes.",
    output=Order,
)
# endregion


async def main() -> None:
    model = ScriptedModel(
        [
            '{"lines": [{"article": "apple", "count": 0}]}',
            '{"lines": [{"article": "apple", "count": 3}]}',
            *["An order? Of what?"] * 2,
        ]
    )
    app = create_app(AppConfig(profiles=[clerk], providers=[model], store=MemorySessionStore()))
    async with app.host as host:
        # region use
        response = await host.chat(ChatRequest("Three apples, please."))
        assert response.output == Order([Line("apple", 3)])
        # endregion

        told: list[str] = []
        # region error
        try:
            await host.chat(ChatRequest("Good morning."))
        except OutputInvalid as error:
            told.append(error.detail)
        # endregion
    assert "Order" in told[0]
    assert "count" in model.requests[1].messages[-1].text


anyio.run(main)
