"""Our attribute names are those of the conventions."""

from importlib import import_module

from agentrail.telemetry import names


def test_every_name_is_one_of_the_conventions() -> None:
    known = {
        value
        for module in ("_incubating.attributes.gen_ai_attributes", "attributes.error_attributes")
        for value in vars(import_module(f"opentelemetry.semconv.{module}")).values()
        if isinstance(value, str)
    }
    ours = {value for key, value in vars(names).items() if key.isupper()}

    assert len(ours) >= 16
    assert ours - known == set()
