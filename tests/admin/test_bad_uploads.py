"""Every bad package of the corpus, sent to the API: its code, and nothing left of it."""

from collections.abc import Iterable
from pathlib import Path

import httpx
import pytest

from tests.admin.site import SOURCE, Site, archive
from tests.package.corpus_archives import Item, archives
from tests.package.corpus_sources import sources
from tests.package.test_manifest import BAD_JSON, table
from tests.package.trees import snapshot

pytestmark = pytest.mark.anyio

# What is wrong inside of an archive is looked at once it has a manifest, which few of these have.
MANIFEST = "manifest_"


def uploads() -> Iterable[tuple[str, bytes, str, tuple[str, ...]]]:
    """Yield what to send, under which name, and how the codes begin that it is refused with."""
    for item in archives():
        yield *_sent(item), (item.code or MANIFEST,)
    for item in sources():
        plain = item.name == Path(item.name).name  # else the form itself is refused
        yield *_sent(item), (item.code or MANIFEST, MANIFEST) if plain else ("invalid_request",)
    manifests = [("plugin.toml", text, code) for text, code in table()]
    manifests += [("plugin.json", text, code) for text, code in BAD_JSON.items()]
    for number, (file, text, code) in enumerate(manifests):
        files = {file: text, "__init__.py": SOURCE}
        yield f"manifest {number}", archive(files), "upload.zip", (code,)


def _sent(item: Item) -> tuple[str, bytes, str]:
    return item.id, item.build(), item.name


async def test_a_bad_upload_is_refused_with_its_code_and_leaves_nothing(
    site: Site, tmp_path: Path
) -> None:
    before, count, wrong = snapshot(tmp_path / "packages"), 0, list[str]()
    for id_, data, name, codes in uploads():
        response = await site.upload(data, name)
        count += 1
        if response.status_code not in (413, 422) or not _code(response).startswith(codes):
            wrong.append(f"{id_}: {response.status_code} {_code(response)}, not {codes}")

    assert not wrong, "\n".join(wrong)
    assert count > 200
    assert snapshot(tmp_path / "packages") == before
    assert (await site.get("/api/plugins"))["plugins"] == []
    assert (await site.get("/api/audit"))["entries"] == []


def _code(response: httpx.Response) -> str:
    found: str = response.json().get("code", "")
    return found
