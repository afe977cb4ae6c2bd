"""Tools: functions that a model may call, the set of them, and the execution of a call."""

from agentrail.tool._execute import run_tool, tool_endpoint
from agentrail.tool._function import FunctionTool, tool
from agentrail.tool._hooks import hook_middleware
from agentrail.tool._toolset import Toolset

__all__ = [
    "FunctionTool",
    "Toolset",
    "hook_middleware",
    "run_tool",
    "tool",
    "tool_endpoint",
]
