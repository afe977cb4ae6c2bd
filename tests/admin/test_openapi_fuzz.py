"""What the description of /api promises, asked of a real host with made-up requests."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi import checks

from tests.cli.command import Serving, serving

APP = """
from agentrail import AppConfig, Profile, ScriptedModel, create_app
from agentrail.plugin import PackageSettings

profile = Profile(id="assistant", model="scripted:m")
app = create_app(
    AppConfig(
        profiles=[profile],
        providers=[ScriptedModel.repeat("fine")],
        packages=PackageSettings(directories=["packages"]),
    )
)
"""

PACKAGE = """
# /// plugin
# id = "greeter"
# version = "1.0.0"
# ///
def get_tools():
    schema = {"name": "greet", "parameters": {"type": "object"}}
    return [{"schema": schema, "handler": lambda: "hello"}]
"""


HEALTH = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)
NOT_PROMISED = (
    "ignored_auth",  # on the loopback the caller is the administrator, whatever it presents
    "positive_data_acceptance",  # no schema says which bytes are a package
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A host with one package."""
    here = tmp_path_factory.mktemp("fuzzed")
    (here / "app.py").write_text(APP)
    (here / "agentrail.yaml").write_text("stop_grace: 5\n")
    (here / "packages").mkdir()
    (here / "packages" / "greeter.py").write_text(PACKAGE)
    with serving(here) as server:
        yield server


@pytest.fixture(scope="module")
def schema(served: Serving) -> Any:  # noqa: ANN401 - as below
    """What the host says of its API."""
    return schemathesis.openapi.from_url(f"{served.client.base_url}/api/openapi.json")


def test_the_api_answers_as_it_is_described(
    schema: Any,  # noqa: ANN401 - its types have parameters that nobody names
    served: Serving,
) -> None:
    asked = schema.exclude(path_regex="events")  # a feed has no end
    excluded = [getattr(checks, name) for name in NOT_PROMISED]

    @settings(max_examples=400, deadline=None, suppress_health_check=HEALTH, database=None)
    @given(case=asked.as_strategy())
    def ask(case: Any) -> None:  # noqa: ANN401 - a generic of four parameters that nobody names
        case.call_and_validate(headers={"connection": "close"}, excluded_checks=excluded)

    ask()

    assert len(asked) > 10
    assert served.client.post("/chat", json={"message": "still there?"}).status_code == 200
