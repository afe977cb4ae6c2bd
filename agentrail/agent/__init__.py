"""The agent loop, and the journal of what it does."""

from agentrail.agent._context import fit
from agentrail.agent._journal import COALESCE, Journal, Reader
from agentrail.agent._limits import Limits, Prices, counted
from agentrail.agent._loop import Answer, run_loop
from agentrail.agent._output import Output
from agentrail.agent._run import Agent, Decision, Run

__all__ = [
    "COALESCE",
    "Agent",
    "Answer",
    "Decision",
    "Journal",
    "Limits",
    "Output",
    "Prices",
    "Reader",
    "Run",
    "counted",
    "fit",
    "run_loop",
]
