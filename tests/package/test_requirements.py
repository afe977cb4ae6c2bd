"""The Python packages that a package needs, held against those that this interpreter has."""

import pytest

from agentrail.package import missing_requirements


@pytest.mark.parametrize(
    "requirement",
    [
        "httpx",
        "HTTPX>=0.20",
        "jsonschema_rs",
        "jsonschema.rs>0",
        "anyio>=4,<99; sys_platform != 'none'",
        "nowhere-at-all; python_version < '3'",
        "nowhere-at-all; extra == 'more'",
    ],
)
def test_what_is_there_or_not_asked_for_here_is_not_missing(requirement: str) -> None:
    assert missing_requirements([requirement]) == []


@pytest.mark.parametrize(
    "requirement", ["nowhere-at-all", "httpx>=99", "httpx<0.1", "anyio==4.0.0rc1.dev7"]
)
def test_what_is_not_there_or_of_another_version_is_missing(requirement: str) -> None:
    assert missing_requirements(["anyio", requirement]) == [requirement]
