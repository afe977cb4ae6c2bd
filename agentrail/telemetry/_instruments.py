"""What a host measures, by opentelemetry-api alone; what calls take is ``middleware.metrics()``'s.

Names and units follow the rules of OpenTelemetry for names of one's own.
"""

from typing import Final

from attrs import frozen
from opentelemetry.metrics import (
    Counter,
    Histogram,
    Meter,
    UpDownCounter,
    get_meter,
    get_meter_provider,
)
from opentelemetry.util.types import AttributeValue

from agentrail.hook import Hook, kind_of
from agentrail.telemetry import names

OTHER: Final = "_OTHER"
"""In place of a value of an attribute of which there could be any number."""

HOOK_DURATION: Final = "agentrail.hook.duration"
HOOK_ERRORS: Final = "agentrail.hook.errors"
HOOK_LEFT_ALONE: Final = "agentrail.hook.left_alone"
TURN_DURATION: Final = "agentrail.turn.duration"
FIRST_TEXT: Final = "agentrail.turn.time_to_first_text"
TURNS_RUNNING: Final = "agentrail.turn.running"
TURNS_WAITING: Final = "agentrail.turn.waiting"

_HOOK_SECONDS: Final = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10)
_TURN_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

Attributes = dict[str, AttributeValue]


@frozen(slots=True)
class Instruments:
    """The instruments of a host."""

    hook_duration: Histogram
    hook_errors: Counter
    left_alone: UpDownCounter
    turn_duration: Histogram
    first_text: Histogram
    running: UpDownCounter
    """The turns that run."""
    waiting: UpDownCounter
    """Those of them that do not have their session yet."""

    @classmethod
    def of(cls, meter: Meter) -> "Instruments":
        """Return the instruments of a meter."""
        return cls(
            meter.create_histogram(
                HOOK_DURATION,
                "s",
                "What a call of a hook takes.",
                explicit_bucket_boundaries_advisory=_HOOK_SECONDS,
            ),
            meter.create_counter(HOOK_ERRORS, "{error}", "Calls of hooks that failed."),
            meter.create_up_down_counter(
                HOOK_LEFT_ALONE, "{hook}", "Hooks that are not called because they kept failing."
            ),
            meter.create_histogram(
                TURN_DURATION,
                "s",
                "What a run of a turn takes, its hooks included.",
                explicit_bucket_boundaries_advisory=_TURN_SECONDS,
            ),
            meter.create_histogram(
                FIRST_TEXT,
                "s",
                "Time to the first text of a run's answer.",
                explicit_bucket_boundaries_advisory=_TURN_SECONDS,
            ),
            meter.create_up_down_counter(TURNS_RUNNING, "{turn}", "Turns that run."),
            meter.create_up_down_counter(
                TURNS_WAITING, "{turn}", "Turns that wait for their session."
            ),
        )

    def hook(
        self, hook: Hook, seconds: float, outcome: str, error: Exception | None, _of_run: object
    ) -> None:
        """Count a call of a hook; what its run is about would make too many series."""
        attributes = _who(hook)
        if error is not None:
            self.hook_errors.add(1, attributes | {names.ERROR_TYPE: kind_of(error)})
        if outcome != "skipped":
            self.hook_duration.record(seconds, attributes | {"agentrail.hook.outcome": outcome})

    def breaker(self, hook: Hook, left_alone: bool) -> None:
        """Count a hook that is left alone from now on, or is no more."""
        self.left_alone.add(1 if left_alone else -1, _who(hook))

    def turn(
        self, agent_id: str, transport: str, outcome: str, seconds: float, first: float | None
    ) -> None:
        """Count a run: its outcome, what it took, and the time to its first text, if any."""
        attributes: Attributes = {names.AGENT_ID: agent_id, "agentrail.transport": transport}
        self.turn_duration.record(seconds, attributes | {"agentrail.turn.outcome": outcome})
        if first is not None:
            self.first_text.record(first, attributes)


def has_meter_provider() -> bool:
    """Tell whether the application set a meter provider."""
    # The API's own providers do nothing; that of them which stands in until one is set is private.
    return not type(get_meter_provider()).__module__.startswith("opentelemetry.metrics")


def active_instruments() -> Instruments | None:
    """Return the instruments to use, or None when the application set no meter provider."""
    return Instruments.of(get_meter("agentrail")) if has_meter_provider() else None


def _who(hook: Hook) -> Attributes:
    return {"agentrail.hook.name": hook.name, "agentrail.plugin.name": hook.plugin}
