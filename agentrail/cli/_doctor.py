"""``agentrail doctor``: what an application needs, and whether it is there."""

import importlib.util
import os
import platform
import socket
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

from attrs import frozen
from rich.console import Console
from rich.text import Text

from agentrail.cli._load import load_app
from agentrail.errors import AgentrailError
from agentrail.host import AgentApp
from agentrail.model import weights


@frozen
class Finding:
    """What one check found."""

    ok: bool
    what: str


def doctor(spec: str, port: int, data_dir: Path | None) -> bool:
    """Print what is fine and what is not; tell whether all is fine."""
    console = Console(highlight=False)
    findings = [_python(), _servers(), _port(port)]
    try:
        app = load_app(spec, data_dir)
    except (AgentrailError, ImportError, SyntaxError) as error:
        findings.append(Finding(ok=False, what=f"application {spec}: {error}"))
    else:
        agents = ", ".join(app.host.agents())
        findings.append(Finding(ok=True, what=f"application {spec}: agents {agents}"))
        findings.append(_data_dir(app.host.core.config.data_dir))
        findings.extend(_models(app))
    for finding in findings:
        mark = ("ok ", "green") if finding.ok else ("fix", "red")
        console.print(Text.assemble(mark, "  ", finding.what), soft_wrap=True)
    return all(finding.ok for finding in findings)


def _python() -> Finding:
    what = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    return Finding(ok=True, what=what)


def _servers() -> Finding:
    missing = [name for name in ("uvicorn", "hypercorn") if not _installed(name)]
    if missing:
        what = f"no {' and no '.join(missing)}: pip install 'agentrail-host[server]'"
        return Finding(ok=False, what=what)
    return Finding(ok=True, what="HTTP servers: uvicorn (asyncio), hypercorn (trio)")


def _port(port: int) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            what = f"port {port} is taken ({error.strerror}): serve with --port, or stop the other"
            return Finding(ok=False, what=what)
    return Finding(ok=True, what=f"port {port} is free")


def _data_dir(path: Path) -> Finding:
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        return Finding(ok=False, what=f"data directory {path}: {error.strerror}")
    return Finding(ok=True, what=f"data directory {path} can be written")


def _models(app: AgentApp) -> list[Finding]:
    checks: dict[str, Callable[[], Finding]] = {"local": _local, "openai": _openai}
    references = {str(served.reference) for served in app.host.composition.agents.values()}
    findings: list[Finding] = []
    for reference in sorted(references):
        check = checks.get(reference.partition(":")[0])
        found = check() if check else Finding(ok=True, what="the application's own provider")
        findings.append(Finding(ok=found.ok, what=f"model {reference}: {found.what}"))
    return findings


def _local() -> Finding:
    if not _installed("xllamacpp"):
        return Finding(ok=False, what="no xllamacpp: pip install 'agentrail-host[local]'")
    path = weights.installed()
    if path is None:
        return Finding(ok=False, what="its weights are missing: agentrail local install")
    return Finding(ok=True, what="weights and runtime are there")


def _openai() -> Finding:
    if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"):
        return Finding(ok=True, what="OPENAI_API_KEY or OPENAI_BASE_URL is set")
    return Finding(ok=False, what="set OPENAI_API_KEY (and OPENAI_BASE_URL for another server)")


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
