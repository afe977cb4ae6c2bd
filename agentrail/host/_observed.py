"""How a run is seen from outside: its span, and what is measured of it."""

from collections.abc import Awaitable, Callable, Generator
from typing import TypeVar

from opentelemetry.trace import Link
from opentelemetry.util.types import AttributeValue

from agentrail.errors import AgentrailError
from agentrail.events import RunRecorded
from agentrail.hook import Account, span
from agentrail.host._admit import Admitted
from agentrail.host._core import Core
from agentrail.requests import ChatResponse
from agentrail.telemetry import OTHER, names, run_began, span_of

T = TypeVar("T")

Work = Callable[[], Awaitable[ChatResponse]]
"""Is a run."""


async def observed(core: Core, admitted: Admitted, account: Account, work: Work) -> ChatResponse:
    """Return what a run comes to, traced and measured; whatever it raises passes."""
    if core.tracer is None:
        return await _measured(core, admitted, account, work)
    agent_id = _agent_id(admitted)
    name = "invoke_agent" if agent_id == OTHER else f"invoke_agent {agent_id}"
    links = list(_links(admitted))
    with span(core.tracer, name, _attributes(admitted), links=links) as current:
        admitted.services.span = current.get_span_context()
        account.traceparent = run_began()
        account.attributes = admitted.services.attributes
        response = await _measured(core, admitted, account, work)
        current.set_attribute("agentrail.turn.outcome", response.outcome)
        return response


async def held(core: Core, account: Account, taking: Awaitable[T]) -> T:
    """Return what is awaited: a run's session, for which it may have to wait."""
    instruments, monotonic = core.instruments, core.watchdog.monotonic
    began = monotonic()
    if instruments is not None:
        instruments.waiting.add(1)
    try:
        return await taking
    finally:
        account.waited = monotonic() - began
        if instruments is not None:
            instruments.waiting.add(-1)


async def _measured(core: Core, admitted: Admitted, account: Account, work: Work) -> ChatResponse:
    instruments = core.instruments
    if instruments is None:
        return await work()
    outcome = "cancelled"
    instruments.running.add(1)
    try:
        response = await work()
    except AgentrailError:
        outcome = "failed"
        raise
    else:
        outcome = response.outcome
        return response
    finally:
        instruments.running.add(-1)
        first, began = account.first_text, account.began
        instruments.turn(
            _agent_id(admitted),
            admitted.context.transport,
            outcome,
            core.watchdog.monotonic() - began,
            None if first is None else first - began,
        )


def _agent_id(admitted: Admitted) -> str:
    """Return the agent that was asked, of those that there are: anybody may ask for others."""
    asked = admitted.context.agent_id
    return asked if asked in admitted.composition.agents else OTHER


def _links(admitted: Admitted) -> Generator[Link]:
    """Yield links to the runs before, of a turn that goes on."""
    past = admitted.past
    for event in past.events if past is not None else ():
        if isinstance(event, RunRecorded) and (before := span_of(event.traceparent)):
            yield Link(before)


def _attributes(admitted: Admitted) -> dict[str, AttributeValue]:
    """Return what a sampler may want to know before the run begins."""
    context, composition = admitted.context, admitted.composition
    attributes: dict[str, AttributeValue] = {
        **admitted.services.attributes,
        names.OPERATION_NAME: "invoke_agent",
        "agentrail.turn.id": context.turn_id,
        "agentrail.transport": context.transport,
        "agentrail.generation": composition.generation,
    }
    served = composition.agents.get(context.agent_id)
    if served is not None:
        attributes[names.AGENT_NAME] = served.profile.name or context.agent_id
        attributes[names.PROVIDER_NAME] = served.reference.provider
        attributes[names.REQUEST_MODEL] = served.reference.model
    return attributes
