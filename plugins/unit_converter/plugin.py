"""Conversions between units, as an object that is activated and handles each of its tools."""

from agentrail import ToolError
from agentrail.package import PluginContext

SIZES = {
    "length": {"m": 1.0, "km": 1000.0, "cm": 0.01, "mi": 1609.344, "ft": 0.3048, "in": 0.0254},
    "weight": {"kg": 1.0, "g": 0.001, "lb": 0.45359237, "oz": 0.028349523125},
}
"""How much of its kind's first unit each unit is."""

DEGREES = {"C": (1.0, 273.15), "F": (5 / 9, 459.67 * 5 / 9), "K": (1.0, 0.0)}
"""The factor and the summand that make kelvins of a unit."""

UNITS = [*SIZES["length"], *SIZES["weight"], *DEGREES]


class UnitConverter:
    """Converts amounts."""

    def on_activate(self, context: PluginContext) -> None:
        """Keep what the host offers."""
        self.log = context.logger

    def get_tools(self) -> list[dict[str, object]]:
        """Return the schemas of the tools; ``handle_`` and its name is what a tool does."""
        unit = {"type": "string", "enum": UNITS}
        return [
            {
                "name": "convert",
                "description": "Convert an amount from one unit into another.",
                "parameters": {
                    "type": "object",
                    "properties": {"amount": {"type": "number"}, "unit": unit, "into": unit},
                    "required": ["amount", "unit", "into"],
                },
            }
        ]

    def handle_convert(self, amount: float, unit: str, into: str) -> str:
        """Return the amount in the other unit."""
        self.log.info("%s is converted into %s", unit, into)
        return f"{amount:g} {unit} = {converted(amount, unit, into):.6g} {into}"


def converted(amount: float, unit: str, into: str) -> float:
    """Return an amount in another unit."""
    if unit in DEGREES and into in DEGREES:
        (factor, summand), (by, less) = DEGREES[unit], DEGREES[into]
        return (amount * factor + summand - less) / by
    for sizes in SIZES.values():
        if unit in sizes and into in sizes:
            return amount * sizes[unit] / sizes[into]
    raise ToolError(f"{unit} cannot be converted into {into}")
