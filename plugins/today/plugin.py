"""The present day, told to the model in each turn: what ``execute`` returns is put before it."""

from time import strftime

from agentrail.package import ExecutionContext


class Today:
    """Knows which day it is."""

    async def execute(self, context: ExecutionContext) -> dict[str, str]:
        """Return the day where the host is, for the user whose turn it is."""
        return {"day": strftime("%A, %Y-%m-%d"), "user": context.user_id}
