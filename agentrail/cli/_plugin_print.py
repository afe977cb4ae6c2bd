"""How ``agentrail plugin`` prints packages, and what happens to them."""

from collections.abc import Mapping, Sequence
from typing import cast

from rich.console import Console
from rich.text import Text

from agentrail.cli._console import printable, time_text
from agentrail.registry import PackageEvent, PackageInfo, VersionInfo


def print_request(package: PackageInfo, version: VersionInfo, console: Console) -> None:
    """Print what a version asks for."""
    title = f"{package.id} {version.version}, {version.digest}"
    console.print(Text(title, style="bold"), soft_wrap=True)
    for line in _permissions(version.permissions) or ["  it asks for nothing"]:
        console.print(Text(line), soft_wrap=True)
    for warning in package.warnings:
        console.print(Text(f"  {line_of(warning)}", style="yellow"), soft_wrap=True)


def _permissions(asked: Mapping[str, object]) -> Sequence[str]:
    lines: list[str] = []
    for name, value in asked.items():
        what = _told(cast("list[object]", value)) if isinstance(value, list) else "yes"
        lines.append(f"  {name}: {printable(what)}")
    return lines


def _told(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))


def print_package(package: PackageInfo) -> None:
    """Print all that is known of a package."""
    console = Console(highlight=False)
    rows = [
        ("name", package.name),
        ("version", package.version),
        ("state", package.state),
        ("switch", switch_text(package)),
        ("type", package.type),
        ("author", package.author),
        ("tags", ", ".join(package.tags)),
        ("digest", package.digest),
        ("previous", package.previous or ""),
        ("error", why_not(package)),
        ("description", package.description),
    ]
    console.print(Text(package.id, style="bold"), soft_wrap=True)
    for name, value in rows:
        if value:
            console.print(Text(f"  {name:12} {line_of(value)}"), soft_wrap=True)
    for title, lines in (
        ("asks for", _permissions(package.permissions)),
        ("was granted", _permissions(package.granted)),
        ("tools", [f"  {tool.name}: {line_of(tool.description)}" for tool in package.tools]),
        ("warnings", [f"  {line_of(each)}" for each in package.warnings]),
        ("versions", [_version(each) for each in package.versions]),
    ):
        for line in [title, *lines] if lines else []:
            console.print(Text(line), soft_wrap=True)


def _version(version: VersionInfo) -> str:
    how = f"{version.source} by {version.received_by} at {time_text(version.received_at)}"
    return f"  {version.version} {version.state}, {version.digest}, {line_of(how)}"


def line_of(text: str) -> str:
    """Return a text on one line."""
    return printable(" ".join(text.split()))


def happened(event: PackageEvent) -> str:
    """Return what an event says of itself."""
    said = event.error or event.message
    if event.type == "denied" and event.metadata.get("resource"):
        return f"{said}: {event.metadata['resource']}"
    return "" if said == "from " else said  # the first version comes after none


def switch_text(package: PackageInfo) -> str:
    """Return whether a package is to be on, and whether an administrator said so."""
    return f"{'on' if package.enabled else 'off'}{', set' if package.overridden else ''}"


def why_not(package: PackageInfo) -> str:
    """Return why a package does not run; nothing where it does, or would with a host."""
    return package.error or (f"it is off: {package.why_off}" if package.why_off else "")
