"""The description of the API says what the API does."""

import re

import pytest

from agentrail.admin._operations import OPERATIONS
from agentrail.admin._routes import described
from tests.admin.site import Json, Site
from tests.docs.pages import rows

ALL = [*OPERATIONS, described()]

IN_PATHS = {"name": "hello_world", "token": "t", "revision": "1", "secret": "KEY"}


async def description(site: Site) -> Json:
    return await site.get("/api/openapi.json")


@pytest.mark.anyio
async def test_every_operation_is_described_and_nothing_else(site: Site) -> None:
    described = await description(site)

    assert described["openapi"] == "3.1.0"
    assert {
        (method.upper(), path, operation["x-may"])
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
    } == {(operation.method, operation.path, operation.may) for operation in ALL}
    ids = [o["operationId"] for p in described["paths"].values() for o in p.values()]
    assert len(set(ids)) == len(ids)


@pytest.mark.anyio
async def test_every_reference_leads_somewhere_and_every_schema_is_used(site: Site) -> None:
    described = await description(site)

    used = set(re.findall(r"'#/components/schemas/(\w+)'", str(described)))

    assert used == described["components"]["schemas"].keys()


@pytest.mark.anyio
async def test_every_parameter_of_a_path_is_described(site: Site) -> None:
    described = await description(site)

    for path, operations in described["paths"].items():
        for operation in operations.values():
            named = [p["name"] for p in operation["parameters"] if p["in"] == "path"]
            assert named == re.findall(r"{(\w+)}", path)
            assert all(p["schema"] for p in operation["parameters"])


@pytest.mark.anyio
async def test_a_described_parameter_is_taken_and_another_is_not(site: Site) -> None:
    await site.ready()
    values = {"state": "active", "limit": "5", "after": "1", "before": "9", "seq": "1"}
    values["hash"] = "0" * 64

    for operation in ALL:
        if operation.method != "GET":
            continue
        path = operation.path.format(**IN_PATHS)
        properties = (await description(site))["paths"][operation.path]["get"]["parameters"]
        query = {p["name"]: values.get(p["name"], "x") for p in properties if p["in"] == "query"}
        answer = await site.client.get(path, params=query)
        # Without settings, what is asked of them is looked at, and not found.
        wanted = 404 if path.startswith("/api/config") else 200
        assert answer.status_code == wanted, path
        other = await site.client.get(path, params={"surely-not": "x"})
        assert other.status_code == 422, path


@pytest.mark.anyio
async def test_a_method_that_is_not_described_is_not_allowed(site: Site) -> None:
    for path in {operation.path for operation in ALL}:
        response = await site.client.patch(path.format(**IN_PATHS))
        assert response.status_code == 405, path


def test_the_page_lists_every_operation_with_what_it_demands() -> None:
    listed = {
        key: (row["may"].strip("`"))
        for key, row in rows("reference/plugins-api.md", "call").items()
    }

    assert listed == {f"{operation.method} {operation.path}": operation.may for operation in ALL}


def test_the_page_lists_every_role_with_what_it_may() -> None:
    from agentrail.access import ROLES  # noqa: PLC0415

    listed = {
        role: set(re.findall(r"`(\w+)`", row["may do"]))
        for role, row in rows("reference/plugins-api.md", "role").items()
    }

    assert listed == {role: set(allowed) for role, allowed in ROLES.items()}


def test_the_page_lists_every_parameter() -> None:
    listed = {
        key: re.findall(r"`(\w+)`", row["query"])
        for key, row in rows("reference/plugins-api.md", "call").items()
    }

    assert listed == {
        f"{operation.method} {operation.path}": list(operation.query.__struct_fields__)
        for operation in ALL
    }


def test_the_page_lists_every_field_of_a_body() -> None:
    fields = {
        key: re.findall(r"`(\w+)`", row["body"])
        for key, row in rows("reference/plugins-api.md", "call").items()
    }

    for operation in ALL:
        known = list(getattr(operation.body, "__struct_fields__", ()))
        key = f"{operation.method} {operation.path}"
        if not operation.uploads:
            assert fields[key] == known, key
