"""Packages over HTTP: uploaded, approved, switched, exchanged and deleted."""

import logging

import anyio
import pytest

from tests.admin.site import Site, archive, hello, problem

pytestmark = pytest.mark.anyio


async def test_a_package_is_uploaded_approved_used_and_deleted(site: Site) -> None:
    uploaded = await site.upload(hello())
    assert uploaded.status_code == 201
    assert uploaded.headers["location"] == "/api/plugins/hello_world"
    assert (uploaded.json()["state"], uploaded.json()["enabled"]) == ("received", False)

    refused = await site.client.post("/api/plugins/hello_world/toggle")
    assert problem(refused) == (409, "package_state")
    digest = uploaded.json()["digest"]
    approved = await site.post("hello_world/approve", {"digest": digest, "promote": True})
    assert approved["state"] == "disabled"

    on = await site.post("hello_world/toggle")
    assert (on["state"], on["enabled"], on["overridden"]) == ("active", True, True)
    assert "whyOff" not in on
    assert await site.get("/api/tools") == {
        "tools": [
            {
                "name": "hello_world__greet",
                "description": "Greets somebody.",
                "plugin": "hello_world",
            }
        ]
    }
    assert [plugin.name for plugin in site.swapped[-1]] == ["hello_world"]

    assert (await site.post("hello_world/toggle"))["enabled"] is False
    assert await site.get("/api/tools") == {"tools": []}
    gone = await site.client.delete("/api/plugins/hello_world")
    assert (gone.status_code, gone.content) == (204, b"")
    assert await site.get("/api/plugins") == {"plugins": [], "broken": {}}


async def test_an_upload_says_what_each_version_asks_for(site: Site) -> None:
    asks = '[permissions]\nnetwork = ["https://a.example"]\n'
    more = '[permissions]\nnetwork = ["https://a.example", "https://b.example"]\n'
    first = (await site.upload(hello(more=asks))).json()
    assert first["permissions"] == {"network": ["https://a.example"]}
    assert first["versions"][0]["beyond"] == ["network: https://a.example"]
    await site.post("hello_world/approve", {"promote": True})
    await site.post("hello_world/toggle")

    second = (await site.upload(hello("1.1.0", more=more))).json()

    assert [version["state"] for version in second["versions"]] == ["active", "staged"]
    assert second["versions"][1]["beyond"] == ["network: https://b.example"]


async def test_an_archive_may_be_the_body_itself(site: Site) -> None:
    response = await site.client.post(
        "/api/plugins/upload",
        params={"filename": "hello_world.zip"},
        content=hello(),
        headers={"content-type": "application/zip"},
    )

    assert (response.status_code, response.json()["id"]) == (201, "hello_world")


async def test_a_module_is_uploaded_by_its_name(site: Site) -> None:
    source = f'# /// plugin\n# id = "greeter"\n# version = "1.0.0"\n# ///\n{SOURCE_OF_TOOLS}'

    response = await site.upload(source.encode(), "greeter.py")

    assert (response.status_code, response.json()["id"]) == (201, "greeter")


SOURCE_OF_TOOLS = "def get_tools():\n    return []\n"


async def test_toggle_takes_what_is_wanted(site: Site) -> None:
    await site.ready()

    for wanted, enabled, overridden in ((True, True, True), (False, False, True)):
        for _ in range(2):  # said twice, it is the same
            shown = await site.post("hello_world/toggle", {"enabled": wanted})
            assert (shown["enabled"], shown["overridden"]) == (enabled, overridden)
            assert shown.get("whyOff") == (None if wanted else "an administrator said so")
    shown = await site.post("hello_world/toggle", {"enabled": None})
    assert (shown["enabled"], shown["overridden"]) == (False, False)
    (listed,) = (await site.get("/api/plugins"))["plugins"]
    assert listed["whyOff"] == "nobody has switched it on"
    assert (await site.post("hello_world/toggle", {}))["enabled"] is True


async def test_versions_are_exchanged_and_back(site: Site) -> None:
    await site.ready()
    await site.post("hello_world/toggle")
    await site.ready("1.1.0")

    assert (await site.post("hello_world/upgrade"))["version"] == "1.1.0"
    assert (await site.post("hello_world/rollback"))["version"] == "1.0.0"
    assert (await site.post("hello_world/upgrade", {"version": "1.1.0"}))["previous"] == "1.0.0"
    one = await site.client.delete("/api/plugins/hello_world", params={"version": "1.0.0"})
    assert one.status_code == 204
    left = (await site.get("/api/plugins/hello_world"))["versions"]
    assert [version["version"] for version in left] == ["1.1.0"]


async def test_what_was_not_looked_at_is_not_approved(site: Site) -> None:
    await site.upload(hello())

    response = await site.client.post(
        "/api/plugins/hello_world/approve", json={"digest": "sha256:" + "0" * 64}
    )

    assert problem(response) == (409, "package_state")
    assert (await site.get("/api/plugins/hello_world"))["state"] == "received"


async def test_only_what_is_quarantined_is_released(site: Site) -> None:
    await site.ready()

    response = await site.client.post("/api/plugins/hello_world/release")

    assert problem(response) == (409, "package_state")


async def test_a_list_is_filtered_by_all_that_is_asked(site: Site) -> None:
    await site.ready()
    more = 'type = "hook"\ntags = ["net", "ops"]\n'
    await site.upload(hello(name="other", more=more))

    for query, found in {
        "": ["hello_world", "other"],
        "state=disabled": ["hello_world"],
        "type=hook": ["other"],
        "tag=ops": ["other"],
        "q=WORLD": ["hello_world"],
        "q=greets&state=received": ["other"],
        "tag=ops&state=active": [],
    }.items():
        listed = (await site.get(f"/api/plugins?{query}"))["plugins"]
        assert [package["id"] for package in listed] == found, query


async def test_a_list_that_did_not_change_is_not_sent_again(site: Site) -> None:
    await site.ready()
    tag = (await site.client.get("/api/plugins")).headers["etag"]

    for known in (tag, f'"other", W/{tag}', "*"):
        again = await site.client.get("/api/plugins", headers={"if-none-match": known})
        assert (again.status_code, again.content) == (304, b""), known
    await site.post("hello_world/toggle")

    changed = await site.client.get("/api/plugins", headers={"if-none-match": tag})
    assert (changed.status_code, changed.headers["etag"] == tag) == (200, False)


async def test_what_was_changed_since_is_not_changed_again(site: Site) -> None:
    await site.ready()
    seen = await site.client.get("/api/plugins/hello_world")
    match = {"if-match": seen.headers["etag"]}
    assert match == {"if-match": f'"{seen.json()["revision"]}"'}
    answers = list[int]()

    async def switch() -> None:
        response = await site.client.post("/api/plugins/hello_world/toggle", headers=match)
        answers.append(response.status_code)

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(switch)

    assert sorted(answers) == [200, 412, 412, 412]
    late = await site.client.delete("/api/plugins/hello_world", headers=match)
    assert problem(late) == (412, "precondition_failed")


@pytest.mark.parametrize("copies", [2, 5])
async def test_changes_at_once_are_done_one_after_the_other(site: Site, copies: int) -> None:
    """Q13 to Q16: whatever wins, no answer is a 5xx and the end is one that an order leads to."""
    await site.ready()
    await site.post("hello_world/toggle", {"enabled": True})
    await site.ready("1.1.0")
    answers = list[tuple[str, int]]()

    async def ask(path: str, body: object = None) -> None:
        response = await site.client.post(f"/api/plugins/hello_world/{path}", json=body)
        answers.append((path, response.status_code))

    async def upload() -> None:
        answers.append(("upload", (await site.upload(hello("2.0.0"))).status_code))

    async with anyio.create_task_group() as group:
        for _ in range(copies):
            group.start_soon(ask, "toggle", {"enabled": True})
            group.start_soon(ask, "upgrade", {"version": "1.1.0"})
            group.start_soon(ask, "rollback", {"version": "1.0.0"})
            group.start_soon(upload)

    assert {status for _, status in answers} <= {200, 201, 409}
    assert [status for path, status in answers if path == "upload"] == [201] * copies
    end = await site.get("/api/plugins/hello_world")
    assert end["state"] == "active"
    assert end["version"] in {"1.0.0", "1.1.0"}


async def test_deleting_waits_its_turn(site: Site) -> None:
    await site.ready()
    statuses = dict[str, int]()

    async def switch() -> None:
        response = await site.client.post("/api/plugins/hello_world/toggle", json={"enabled": True})
        statuses["toggle"] = response.status_code

    async def delete() -> None:
        statuses["delete"] = (await site.client.delete("/api/plugins/hello_world")).status_code

    async with anyio.create_task_group() as group:
        group.start_soon(switch)
        group.start_soon(delete)

    assert statuses["delete"] == 204
    assert statuses["toggle"] in {200, 404}
    assert await site.get("/api/plugins") == {"plugins": [], "broken": {}}


async def test_a_status_is_exported_and_imported(site: Site) -> None:
    for name in ("one", "two", "three"):
        await site.ready(name=name)
    await site.upload(hello(name="raw"))
    await site.post("one/toggle")
    status = await site.get("/api/plugins/status")
    assert status == {"one": True, "raw": False, "three": False, "two": False}

    wanted = {"one": False, "two": True, "raw": True}
    answer = await site.client.put("/api/plugins/status", json=wanted)

    assert answer.json()["status"] == {"one": False, "raw": False, "three": False, "two": True}
    assert list(answer.json()["failed"]) == ["raw"]
    assert "approve it first" in answer.json()["failed"]["raw"]
    again = await site.client.put("/api/plugins/status", json={"two": False, "none": True})
    assert problem(again) == (404, "package_not_found")
    assert (await site.get("/api/plugins/status"))["two"] is True


async def test_what_a_package_logs_is_kept(site: Site) -> None:
    await site.ready()
    logger = logging.getLogger("agentrail.package.hello_world")
    for number in range(300):
        logger.warning("line %d", number)
    broken = {"name": logger.name, "levelname": "ERROR", "msg": "\ud800 %d", "args": ("x",)}
    site.logs.handle(logging.makeLogRecord(broken))
    logging.getLogger("agentrail.package.other").warning("not this one")

    lines = (await site.get("/api/plugins/hello_world/logs"))["logs"]

    assert len(lines) == 200
    assert [line["message"] for line in lines[-3:-1]] == ["line 298", "line 299"]
    assert (lines[-1]["level"], "cannot be written" in lines[-1]["message"]) == ("ERROR", True)
    assert problem(await site.client.get("/api/plugins/none/logs")) == (404, "package_not_found")


async def test_a_traceback_is_in_the_log(site: Site) -> None:
    await site.ready()
    try:
        int("broken")
    except ValueError:
        logging.getLogger("agentrail.package.hello_world").exception("failed")

    (line,) = (await site.get("/api/plugins/hello_world/logs"))["logs"]

    assert line["message"] == "failed"
    assert line["error"].endswith("'broken'")


async def test_a_refused_package_lists_what_is_wrong_and_leaves_nothing(site: Site) -> None:
    before = sorted(site.directory.glob("packages/**/*"))
    manifest = 'id = "Bad Id"\nversion = "x"\n[permissions]\nnetwork = ["ftp://x"]\n'

    response = await site.upload(archive({"plugin.toml": manifest, "__init__.py": ""}))

    assert problem(response) == (422, "manifest_id")
    faults = response.json()["faults"]
    codes = {(fault["code"], fault["line"], fault["key"]) for fault in faults}
    assert ("manifest_id", 1, "id") in codes
    assert ("manifest_version", 2, "version") in codes
    assert {fault["file"] for fault in faults} == {"plugin.toml"}
    assert sorted(site.directory.glob("packages/**/*")) == before
    assert await site.get("/api/plugins") == {"plugins": [], "broken": {}}
