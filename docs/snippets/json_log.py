import io

# region json
import json
import logging

# endregion
import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    MemorySessionStore,
    Profile,
    ScriptedModel,
    create_app,
    middleware,
)

# region json
from agentrail.telemetry import trace_ids

OF_EVERY_RECORD = {*vars(logging.makeLogRecord({})), "message", "asctime"}


class AsJSON(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        extra = {key: each for key, each in vars(record).items() if key not in OF_EVERY_RECORD}
        told: dict[str, object] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **extra,
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


handler = logging.StreamHandler()
handler.setFormatter(AsJSON())
handler.addFilter(trace_ids)
logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
# endregion

written = io.StringIO()
handler.setStream(written)

app = create_app(
    AppConfig(
        profiles=[Profile(id="assistant", model="scripted:any")],
        providers=[ScriptedModel(["Hello."])],
        model_middleware=[middleware.logging()],
        store=MemorySessionStore(),
    )
)


async def main() -> None:
    async with app.host as host:
        answer = await host.chat(ChatRequest("Say hello.", session_id="me"))
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        logging.getLogger("shop").exception("the scales are empty")

    told = [json.loads(line) for line in written.getvalue().splitlines()]
    (call,) = [each for each in told if each["logger"] == "agentrail.middleware"]
    assert call["level"] == "INFO"
    assert call["message"].startswith("model 'scripted:any': ok in ")
    assert (call["provider"], call["model"], call["outcome"]) == ("scripted", "any", "ok")
    assert (call["session_id"], call["turn_id"]) == ("me", answer.turn_id)
    assert "taskName" not in call
    assert "ZeroDivisionError" in told[-1]["exception"]


anyio.run(main)
