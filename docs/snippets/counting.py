from collections import Counter
from typing import TypeVar

from agentrail.hook import Call

Request = TypeVar("Request")
Reply = TypeVar("Reply")

made = Counter[str]()


async def count(request: Request, call_next: Call[Request, Reply]) -> Reply:
    made[type(request).__name__] += 1
    return await call_next(request)
