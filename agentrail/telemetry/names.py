"""The attribute names and values of our spans: the GenAI semantic conventions.

Source: the registry in https://github.com/open-telemetry/semantic-conventions-genai, where these
conventions have status Development, and for ``error.type`` (stable) the general conventions.  The
Python package of the conventions marks its ``gen_ai`` names deprecated since they moved there, so
those that we use are written down here.
"""

from typing import Final

OPERATION_NAME: Final = "gen_ai.operation.name"
"""``chat``, ``execute_tool`` or ``invoke_agent``; the span's name begins with it."""
PROVIDER_NAME: Final = "gen_ai.provider.name"

AGENT_ID: Final = "gen_ai.agent.id"
AGENT_NAME: Final = "gen_ai.agent.name"
CONVERSATION_ID: Final = "gen_ai.conversation.id"
"""The session's id."""

REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
"""A list of texts."""

USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
"""All input tokens, those of the cache among them."""
USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
USAGE_CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
USAGE_CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"

SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
"""The system messages that a model call begins with: JSON, a list of parts."""
INPUT_MESSAGES: Final = "gen_ai.input.messages"
"""The other messages of a model call: JSON."""
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
"""What the model answered: JSON, a list of one message."""

TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 - no password
"""``input`` or ``output``; of metrics alone."""

TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
TOOL_TYPE: Final = "gen_ai.tool.type"
"""``function`` for a tool that the host calls."""
TOOL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
"""JSON."""
TOOL_RESULT: Final = "gen_ai.tool.call.result"
"""The text that the model is told."""

ERROR_TYPE: Final = "error.type"
"""A class of error of few values: an error's ``code``, a tool's outcome; unset on success."""
