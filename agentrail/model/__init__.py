"""Models: how they are named and asked.

The providers that need more than this package's own imports are in modules of their own:
``agentrail.model.openai`` and ``agentrail.model.local``.
"""

from agentrail.model._provider import ModelProvider, ModelReference
from agentrail.model._registry import Models, default_providers
from agentrail.model.scripted import ScriptedModel, call_tools

__all__ = [
    "ModelProvider",
    "ModelReference",
    "Models",
    "ScriptedModel",
    "call_tools",
    "default_providers",
]
