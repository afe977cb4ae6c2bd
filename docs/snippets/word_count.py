from collections import Counter

from agentrail import RequestContext


class WordCount:
    name = "word-count"

    def __init__(self) -> None:
        self.said: Counter[tuple[str, str]] = Counter()

    async def on_turn_persisted(self, context: RequestContext) -> None:
        for message in await context.services.session.turn():
            if message.role == "user":
                self.said[context.tenant_id, context.user_id] += len(message.text.split())
