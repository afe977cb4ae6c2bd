"""Who may call which tools."""

import re
from collections.abc import Collection, Mapping
from fnmatch import translate
from typing import Literal

from agentrail.errors import ConfigError
from agentrail.messages import ToolResult
from agentrail.middleware._seams import ToolCaller, ToolMiddleware, answer
from agentrail.requests import ToolRequest


def authorize(
    rules: Mapping[str, Collection[str]], *, otherwise: Literal["allow", "deny"]
) -> ToolMiddleware:
    """Return a middleware that lets through the tool calls that the caller's roles allow.

    A rule says of the tools that its pattern names (``*``, ``?`` and ``[…]``, as in file names)
    which roles may call them: one of these is enough, and with none of them listed nobody may.  A
    tool that several patterns name needs one role of each.  A call that is not allowed ends as
    ``denied``, and the model is not told what would have allowed it.

    It keeps nothing between calls.

    Args:
        rules: roles by pattern.
        otherwise: what holds for tools that no pattern names.

    Raises:
        ConfigError: the roles of a rule are a text.
    """
    for pattern, roles in rules.items():
        if isinstance(roles, str):
            raise ConfigError(f"authorize: {pattern!r} needs a collection of roles, not {roles!r}")
    compiled = [(re.compile(translate(glob)), frozenset(roles)) for glob, roles in rules.items()]

    async def tool(request: ToolRequest, call_next: ToolCaller) -> ToolResult:
        needed = [roles for glob, roles in compiled if glob.match(request.call.name)]
        allowed = all(request.context.roles & roles for roles in needed)
        if allowed and (needed or otherwise == "allow"):
            return await call_next(request)
        return answer(request, "denied: this tool may not be called here", "denied")

    return tool
