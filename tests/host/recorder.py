"""A plugin that writes down every hook of it that ran."""

from collections.abc import Sequence

from agentrail import Attachment, ChatRequest, ChatResponse, Message, RequestContext


class Recorder:
    """Notes each hook as ``name.hook`` in a list that several of them may share."""

    def __init__(self, log: list[str], name: str = "recorder") -> None:
        self.name = name
        self.log = log
        self.context_providers = [self.provide]

    def _note(self, what: str) -> None:
        self.log.append(f"{self.name}.{what}")

    async def start(self) -> None:
        self._note("start")

    async def stop(self) -> None:
        self._note("stop")

    async def on_request_start(self, context: RequestContext) -> None:
        self._note("on_request_start")

    async def intercept_chat_request(
        self, request: ChatRequest, context: RequestContext
    ) -> ChatResponse | None:
        self._note("intercept_chat_request")
        return None

    async def attachment_handler(
        self, attachments: Sequence[Attachment], context: RequestContext
    ) -> str:
        self._note("attachment_handler")
        return ""

    async def provide(
        self, context: RequestContext, messages: Sequence[Message]
    ) -> Sequence[Message]:
        self._note("context_providers")
        return []

    async def on_turn_persisted(self, context: RequestContext) -> None:
        self._note("on_turn_persisted")

    async def on_request_end(self, context: RequestContext) -> None:
        self._note("on_request_end")
