"""Tools: functions that a model may call, the set of them, and the execution of a call."""

from agentrail.tool._execute import as_text, run_tool, tool_endpoint
from agentrail.tool._function import FunctionTool, call_function, tool
from agentrail.tool._gate import Gate, guarded
from agentrail.tool._permissions import Rule, allow, ask, deny, judge, rule_faults, rule_gaps
from agentrail.tool._signature import Signature, read_signature
from agentrail.tool._toolset import Toolset

__all__ = [
    "FunctionTool",
    "Gate",
    "Rule",
    "Signature",
    "Toolset",
    "allow",
    "as_text",
    "ask",
    "call_function",
    "deny",
    "guarded",
    "judge",
    "read_signature",
    "rule_faults",
    "rule_gaps",
    "run_tool",
    "tool",
    "tool_endpoint",
]
