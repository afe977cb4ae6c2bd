"""Every upload of the corpus: refused with its code and without a trace, or kept whole."""

import io
import random
import subprocess
import sys
import zipfile
import zlib
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path

import pytest
from anyio import to_thread
from hypothesis import given
from hypothesis import strategies as st

from agentrail.errors import PackageRefused
from agentrail.package import ArchiveLimits, PackageFiles, PackageStore, check_content, files_of
from agentrail.package._inflate import inflate
from agentrail.package._zip import read_archive
from tests.package.corpus_archives import MIB, Item, archives, small
from tests.package.corpus_sources import sources
from tests.package.raw_zip import Ending, Entry, archive, deflated, deflated_zeros, directory
from tests.package.trees import snapshot

CORPUS = [*archives(), *sources()]
REFUSED = [item for item in CORPUS if item.code]
ACCEPTED = [item for item in CORPUS if not item.code]

items = partial(pytest.mark.parametrize, "item", ids=lambda item: item.id)


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 1 << 20):
        yield data[at : at + (1 << 20)]


async def take_in(store: PackageStore, item: Item) -> PackageFiles:
    """Receive, check and keep an upload, and return its files."""
    received = await store.receive(chunks(item.build()))
    try:
        files = await to_thread.run_sync(files_of, received.path, item.name)
        await to_thread.run_sync(check_content, files)
        await store.install(files)
    finally:
        await store.discard(received)
    return files


@pytest.mark.anyio
@items(REFUSED)
async def test_what_is_refused_leaves_no_trace(tmp_path: Path, item: Item) -> None:
    store = PackageStore(tmp_path / "data" / "packages")
    await store.start()
    before = snapshot(tmp_path)

    with pytest.raises(PackageRefused) as caught:
        await take_in(store, item)

    error = caught.value
    assert error.code == error.faults[0].code == item.code, error
    assert error.status == (413 if item.code in {"archive_size", "archive_entries"} else 422)
    assert str(error).replace("\n", "").isprintable()
    assert snapshot(tmp_path) == before


@pytest.mark.anyio
@items(ACCEPTED)
async def test_what_is_honest_is_kept_whole(tmp_path: Path, item: Item) -> None:
    store = PackageStore(tmp_path / "packages")
    await store.start()

    files = await take_in(store, item)

    path = store.path(files.digest)
    assert {name: (path / name).read_bytes() for name in files} == contents(item)
    assert await store.verify(files.digest) == files
    assert list((tmp_path / "packages").iterdir()) == [path]


def contents(item: Item) -> Mapping[str, bytes]:
    """Return what is in an honest upload, as Python's own module reads it."""
    if item.name.endswith(".py"):
        return {item.name: item.build()}
    with zipfile.ZipFile(io.BytesIO(item.build())) as opened:
        names = [name for name in opened.namelist() if not name.endswith("/")]
        found = {name: opened.read(name) for name in names}
    tops = {name.partition("/")[0] for name in names}
    if len(tops) > 1 or not all("/" in name for name in names):
        return found
    return {name.partition("/")[2]: data for name, data in found.items()}


def test_the_corpus_names_each_item_once_and_is_large() -> None:
    assert len({item.id for item in CORPUS}) == len(CORPUS)
    assert len(REFUSED) >= 200


Listing = list[tuple[str, bytes]]


def ours(data: bytes) -> Listing:
    file = io.BytesIO(data)
    entries = read_archive(file, ArchiveLimits())
    return [(entry.name, b"".join(inflate(file, entry))) for entry in entries]


def by_zipfile(data: bytes) -> Listing:
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        return [(info.filename, opened.read(info)) for info in opened.infolist()]


def by_local_headers(data: bytes) -> Listing:
    """Read an archive from its beginning, as one does that has no end yet."""
    found, at = Listing(), 0
    while data[at : at + 4] == b"PK\x03\x04":
        flags, method = data[at + 6], data[at + 8]
        size = int.from_bytes(data[at + 18 : at + 22], "little")
        name_end = at + 30 + int.from_bytes(data[at + 26 : at + 28], "little")
        name = data[at + 30 : name_end].decode()
        at = name_end + int.from_bytes(data[at + 28 : at + 30], "little")
        if method:
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            found.append((name, inflater.decompress(data[at:])))
            at = len(data) - len(inflater.unused_data)
        else:
            if flags & 8:  # its end can only be where a descriptor seems to be
                size = data.index(b"PK\x07\x08", at) - at
            found.append((name, data[at : at + size]))
            at += size
        if flags & 8:
            at += 16 if data[at : at + 4] == b"PK\x07\x08" else 12
    return found


def verdict(data: bytes) -> Listing | None:
    """Return what we read; None when it is refused, the one way in which it may fail."""
    try:
        return ours(data)
    except PackageRefused:
        return None


def check(data: bytes) -> bool:
    """Check that whoever reads what we accept reads the same."""
    listing = verdict(data)
    if listing is None:
        return False
    assert by_zipfile(data) == listing
    assert by_local_headers(data) == listing
    return True


@items([item for item in ACCEPTED if not item.name.endswith(".py")])
def test_three_parsers_read_the_same_of_what_is_accepted(item: Item) -> None:
    assert check(item.build())


@pytest.mark.parametrize("data", small(), ids=["plain", "described", "python"])
def test_a_cut_archive_is_refused_wherever_it_is_cut(data: bytes) -> None:
    lengths = {len(data) * part // 16 for part in range(16)} | set(range(len(data)))

    assert [length for length in lengths if verdict(data[:length]) is not None] == []


@pytest.mark.parametrize("data", small(), ids=["plain", "described", "python"])
def test_flipped_bytes_are_refused_or_read_the_same_by_all(data: bytes) -> None:
    chance = random.Random(53)  # noqa: S311 - no secret
    for _ in range(500):
        damaged = bytearray(data)
        for _ in range(max(1, len(data) // 100)):
            damaged[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        check(bytes(damaged))


@pytest.mark.parametrize("data", small(), ids=["plain", "described", "python"])
def test_any_one_byte_may_be_another(data: bytes) -> None:
    chance = random.Random(54)  # noqa: S311 - no secret
    for at in range(len(data)):
        check(data[:at] + chance.randbytes(1) + data[at + 1 :])


names = st.sampled_from(
    [b"a.py", b"b.py", b"A.py", b"d/a.py", b"d/", b"../x", b"PK\x05\x06", b"p\0"]
)
small_numbers = st.none() | st.integers(0, 300)
entries = st.builds(
    Entry,
    name=names,
    data=st.binary(max_size=40) | st.just(b"PK\x05\x06" + bytes(18)),
    method=st.sampled_from([0, 8, 8, 8, 12]),
    flags=st.sampled_from([0, 0, 0, 8, 8, 1 << 11, 1]),
    mode=st.sampled_from([0, 0o100644, 0o040755, 0o120777]),
    extra=st.sampled_from([b"", b"UT\0\0", b"\1\0\0\0", b"PK\3\4"]),
    size=st.none() | st.none() | small_numbers,
    compressed=st.none() | st.none() | small_numbers,
    start=st.none() | st.none() | small_numbers,
    listed=st.sampled_from([True, True, True, False]),
    local_name=st.none() | st.none() | names,
    descriptor=st.none() | st.none() | st.binary(max_size=16),
    gap=st.sampled_from([b"", b"", b"", b"PK\3\4", b"x"]),
)
endings = st.builds(
    Ending,
    prefix=st.sampled_from([b"", b"", b"", b"x", archive(Entry(b"a.py"))]),
    comment=st.sampled_from([b"", b"", b"0" * 40, archive(Entry(b"a.py"))]),
    trailing=st.sampled_from([b"", b"", b"", b"\n", archive(Entry(b"a.py"))]),
    count=st.none() | st.none() | st.integers(0, 5),
    place=st.none() | st.none() | small_numbers,
    size=st.none() | st.none() | small_numbers,
    reverse=st.booleans(),
)


@given(st.lists(entries, max_size=4), endings | st.just(Ending()))
def test_archives_are_refused_or_read_the_same_by_all(made: list[Entry], end: Ending) -> None:
    check(archive(*made, end=end))


@given(
    st.dictionaries(
        st.from_regex(r"([abdxyz0-9]{1,4}/){0,3}[abdxyz0-9]{1,8}\.(py|txt)", fullmatch=True),
        st.binary(max_size=200),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([0, 8]),
    st.sampled_from([0, 8]),
)
def test_plain_archives_of_plain_names_are_accepted(
    files: dict[str, bytes], method: int, flags: int
) -> None:
    made = [
        Entry(name.encode(), data, method=method, flags=flags if method else 0)
        for name, data in files.items()
    ]

    assert check(archive(directory(b"zzzzz/"), *made))


BOUNDED = """
import resource, sys
from pathlib import Path
from agentrail.errors import PackageRefused
from agentrail.package import files_of

def bounded(path):
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 20), resource.RLIM_INFINITY))
    try:
        files_of(path, "upload.zip")
    except PackageRefused as error:
        return error.code
    return ""

resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
print([bounded(Path(path)) for path in sys.argv[1:]])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is on what Linux counts")
def test_bombs_are_refused_within_sixteen_megabytes(tmp_path: Path) -> None:
    kinds = ("Z08-longest", "Z15", "Z16", "Z17", "Z18", "Z19", "Z21", "Z24-many")
    bombs = [item for item in CORPUS if item.id.startswith(kinds)]
    bombs.append(Item("long-names", lambda: archive(*long_names()), "archive_name"))
    bombs.append(Item("grows", lambda: archive(*growing()), "archive_size"))
    bombs.append(Item("follows", lambda: archive(followed()), "archive_trailing"))
    paths = [tmp_path / item.id for item in bombs]
    for path, item in zip(paths, bombs, strict=True):
        path.write_bytes(item.build())

    command = [sys.executable, "-c", BOUNDED, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.stdout == f"{[item.code for item in bombs]}\n", done.stderr


def long_names() -> list[Entry]:
    return [Entry(b"x" * 65_000 + b"%d" % number, b"", local=False) for number in range(700)]


def growing() -> list[Entry]:
    """Return entries that all unpack to more than they say."""
    return [Entry(b"f%d" % n, packed=deflated_zeros(20), size=MIB) for n in range(50)]


def followed() -> Entry:
    """Return an entry with much behind its compressed data."""
    return Entry(b"x.py", packed=deflated(Entry(b"").data) + bytes(40 * MIB))


def test_no_more_is_unpacked_than_an_entry_declares() -> None:
    file = io.BytesIO(archive(Entry(b"x", packed=deflated_zeros(9), size=100_000)))
    [entry] = read_archive(file, ArchiveLimits())
    unpacked = list[bytes]()

    with pytest.raises(PackageRefused):
        unpacked.extend(inflate(file, entry))

    assert sum(map(len, unpacked)) <= 100_000


@pytest.mark.parametrize("extra", range(-2, 300, 7))
def test_what_ends_behind_a_piece_is_unpacked_whole(extra: int) -> None:
    data = bytes((1 << 16) + extra)

    assert ours(archive(Entry(b"zeros", data))) == [("zeros", data)]


@pytest.mark.parametrize("method", [0, 8])
def test_an_archive_that_shrinks_while_it_is_read_is_refused(method: int) -> None:
    file = io.BytesIO(archive(Entry(b"x", b"x" * 99, method=method)))
    [entry] = read_archive(file, ArchiveLimits())
    file.truncate(entry.start)

    with pytest.raises(PackageRefused):
        list(inflate(file, entry))


@pytest.mark.parametrize("name", [b".gitignore", b"__MACOSX/x", b"d/.DS_Store"])
def test_what_tools_leave_in_archives_is_refused_with_a_way_out(name: bytes) -> None:
    with pytest.raises(PackageRefused, match="`agentrail plugin pack`"):
        ours(archive(Entry(b"good.py"), Entry(name)))


def test_what_is_stored_into_a_pipe_is_refused_with_a_way_out() -> None:
    with pytest.raises(PackageRefused, match="`agentrail plugin pack`"):
        ours(archive(Entry(b"x.py", method=0, flags=8)))


def test_a_refusal_names_some_of_the_faults_when_there_are_very_many() -> None:
    with pytest.raises(PackageRefused) as caught:
        ours(archive(*(Entry(b"../%d" % number) for number in range(2_000))))

    assert len(caught.value.faults) == 50


def test_a_refusal_names_every_fault(tmp_path: Path) -> None:
    path = tmp_path / "upload.zip"
    path.write_bytes(archive(Entry(b"../x"), Entry(b"a b"), Entry(b"ok.py", mode=0o104755)))

    with pytest.raises(PackageRefused) as caught:
        files_of(path)

    assert [(fault.code, fault.file) for fault in caught.value.faults] == [
        ("archive_path", "../x"),
        ("archive_name", "a b"),
        ("archive_mode", "ok.py"),
    ]


def test_contents_that_are_damaged_are_named_together(tmp_path: Path) -> None:
    path = tmp_path / "upload.zip"
    path.write_bytes(archive(Entry(b"a.py", crc=1), Entry(b"b.py"), Entry(b"c.py", size=3)))

    with pytest.raises(PackageRefused) as caught:
        files_of(path)

    assert [(fault.code, fault.file) for fault in caught.value.faults] == [
        ("archive_crc", "a.py"),
        ("archive_size", "c.py"),
    ]
