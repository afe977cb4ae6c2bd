"""The agent loop: model and tools in turn, each step durable."""

from agentrail.agent._journal import COALESCE, Journal, Reader
from agentrail.agent._loop import Agent, Answer, Limits, Run, run_loop

__all__ = ["COALESCE", "Agent", "Answer", "Journal", "Limits", "Reader", "Run", "run_loop"]
