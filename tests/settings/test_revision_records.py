"""What is kept of revisions tells who did what, and nothing of secrets."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from agentrail.secret import read_secrets
from agentrail.settings import SettingsSource
from tests.settings.test_configuration import UNWATCHED, grace, opened

pytestmark = pytest.mark.anyio


def made(directory: Path) -> Path:
    directory.mkdir()
    return directory


async def digests(directory: Path, *texts: str) -> Sequence[str]:
    async with opened(directory, texts[0]) as site:
        found = [site.configuration.revision]
        for text in texts[1:]:
            site.write(text)
            found.append(await site.configuration.reload("ada"))
    return [each.digest for each in found]


def with_key(value: str) -> str:
    return f"providers: {{p: {{kind: openai, api_key: {value}}}}}\n"


async def test_a_digest_differs_with_a_secret_and_cannot_be_guessed_from_elsewhere(
    tmp_path: Path,
) -> None:
    one = await digests(
        made(tmp_path / "one"), with_key("first1"), with_key("second"), with_key("first1")
    )
    other = await digests(made(tmp_path / "other"), with_key("first1"))

    assert one[0] != one[1]
    assert one[0] == one[2]
    assert other[0] != one[0]  # its key is another, so a guess cannot be tried


async def test_settings_that_are_said_and_those_that_are_not_have_other_digests(
    tmp_path: Path,
) -> None:
    one, other = await digests(made(tmp_path / "a"), "stop_grace: 10\n", "session_wait: 30\n")

    assert one != other


async def test_going_back_to_the_present_settings_for_good_is_audited(tmp_path: Path) -> None:
    async with opened(tmp_path, grace(1)) as site:
        site.write("not: settings\n")
        await site.configuration.rollback(1, "ada")

        assert site.configuration.state.pinned
        last = (await site.audited())[-1]
        assert (last.actor, last.action, last.object) == ("ada", "config.rollback", "config:1")


def test_a_reading_shows_nothing_that_a_secret_could_be_guessed_from(tmp_path: Path) -> None:
    (tmp_path / "agentrail.yaml").write_text(with_key("weak"))
    source = SettingsSource(tmp_path / "agentrail.yaml", UNWATCHED)

    shown = repr((source.read(), source, read_secrets(tmp_path, {})))

    assert source.read().digest not in shown
    assert "weak" not in shown
