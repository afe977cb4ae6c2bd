"""From the files of a package to what it is, with nothing of them run."""

from pathlib import Path

import pytest

from agentrail.errors import PackageRefused
from agentrail.package import files_of, read_package
from tests.package.trees import write

MANIFEST = b'id = "sample"\nversion = "1.0.0"\n'
TOLD = b'def get_manifest():\n    "Says."\n    return {"name": "a", "version": "1.0.0"}\n'


def refusal(root: Path, files: dict[str, bytes]) -> PackageRefused:
    with pytest.raises(PackageRefused) as caught:
        read_package(files_of(write(root, files)), "1.0.0")
    return caught.value


@pytest.mark.parametrize("file", ["__init__.py", "alone.py"])
def test_a_dictionary_that_is_written_out_is_a_manifest(file: str, tmp_path: Path) -> None:
    package = read_package(files_of(write(tmp_path, {file: TOLD})), "1.0.0")

    assert (package.manifest.id, str(package.manifest.version)) == ("a", "1.0.0")
    assert package.module == file.removesuffix(".py").removesuffix("__init__")


def test_nothing_is_run_to_read_a_manifest(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    touch = f"open({str(marker)!r}, 'w')"
    source = f"{touch}\nimport os; os.mkdir({str(marker)!r})\nclass A(metaclass={touch}): {touch}\n"
    source += f"@{touch}\ndef other(a={touch}): pass\n"

    package = read_package(
        files_of(write(tmp_path / "p", {"__init__.py": source.encode() + TOLD})), "1.0.0"
    )

    assert package.manifest.id == "a"
    assert not marker.exists()


UNREADABLE = {
    b"": "manifest_missing",
    b"x = 1": "manifest_missing",
    b"def get_manifest(): return make()": "manifest_missing",
    b"def get_manifest(): return [1]": "manifest_missing",
    b"def get_manifest(): return {1: 2}": "manifest_id",
    b"def get_manifest(): return {'name': {1, 2}}": "manifest_missing",
    b"def get_manifest(): return {'name': 'a'}": "manifest_version",
    b"def get_manifest(): return {'name': 'A b', 'version': '1.0.0'}": "manifest_id",
    b"class A:\n    def get_manifest(self): return {'name': 'a'}": "manifest_missing",
    b"def get_manifest(:": "manifest_schema",
    b"x = " + b"(" * 5_000: "manifest_schema",
    b"def get_manifest(): return " + b"[" * 90 + b"]" * 90: "manifest_missing",
    b"def get_manifest(): return '" + b"a" * 2_000_000 + b"' * 900": "manifest_missing",
    b"x = " + b"-" * 100_000 + b"1": "",
    b"def get_manifest(): return {'name': 'a', 'x': '%s'}" % (b"a" * 70_000): "manifest_too_large",
    b"def get_manifest(): return {'name': 'a', 'x': %s}"
    % (b"[" * 40 + b"]" * 40): "manifest_schema",
    b"def get_manifest(): return {'name': '\\ud800', 'version': '1.0.0'}": "manifest_schema",
    b"def get_manifest(): return {'name': 'a', 'tags': [%s]}"
    % b",".join(b"'%d'" % n for n in range(7_000)): "manifest_version",
}


@pytest.mark.parametrize("source", UNREADABLE, ids=[str(each[:60]) for each in UNREADABLE])
def test_what_is_no_written_manifest_is_refused(source: bytes, tmp_path: Path) -> None:
    refused = refusal(tmp_path, {"__init__.py": source})

    assert refused.code == (UNREADABLE[source] or refused.code)
    assert refused.faults[0].file in {"__init__.py", ""}
    assert len(str(refused)) < 1_000


def test_a_fault_of_syntax_is_told_with_its_line(tmp_path: Path) -> None:
    (fault,) = refusal(tmp_path, {"__init__.py": b"x = 1\ndef get_manifest(:\n"}).faults

    assert (fault.file, fault.line, fault.message) == (
        "__init__.py",
        2,
        "it is no Python: invalid syntax",
    )


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"readme.txt": b""}, "manifest_missing"),
        ({"a.py": b"", "b.py": b""}, "manifest_missing"),
        ({"below/plugin.toml": MANIFEST, "a.py": b""}, "manifest_missing"),
        ({"plugin.toml": MANIFEST, "plugin.json": b"{}", "a.py": b""}, "manifest_duplicate"),
        ({"plugin.toml": MANIFEST, "a/plugin.toml": MANIFEST}, "manifest_duplicate"),
        ({"plugin.toml": MANIFEST}, "manifest_entrypoint"),
        ({"plugin.toml": MANIFEST, "a.py": b"", "b.py": b""}, "manifest_entrypoint"),
        ({"plugin.toml": MANIFEST, "a/b.py": b""}, "manifest_entrypoint"),
        ({"plugin.toml": MANIFEST + b'entry_point = "x:Y"', "a.py": b""}, "manifest_entrypoint"),
        ({"plugin.toml": MANIFEST + b'entry_point = "a.y"', "a.py": b""}, "manifest_entrypoint"),
        ({"plugin.toml": MANIFEST + b'requires_host = ">=2"', "a.py": b""}, "host_incompatible"),
    ],
)
def test_a_package_that_is_not_whole_is_refused(
    files: dict[str, bytes], code: str, tmp_path: Path
) -> None:
    assert refusal(tmp_path, files).code == code


@pytest.mark.parametrize("host", ["1.2.0", "1.2.0.dev3+g1", "1.2rc1", "1.2.3.post4", "1.10"])
def test_a_host_counts_by_the_numbers_of_its_version(host: str, tmp_path: Path) -> None:
    manifest = MANIFEST + b'requires_host = ">=1.2,<2,!=1.2.1"'
    files = files_of(write(tmp_path, {"plugin.toml": manifest, "a.py": b""}))

    assert read_package(files, host).module == "a"
