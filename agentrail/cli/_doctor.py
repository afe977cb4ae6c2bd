"""``agentrail doctor``: what an application needs, and whether it is there."""

import importlib.util
import os
import platform
import socket
import sqlite3
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, Literal

from attrs import frozen
from rich.console import Console
from rich.text import Text

from agentrail.cli._load import load_app
from agentrail.errors import AgentrailError
from agentrail.extras import pip_install
from agentrail.host import AgentApp
from agentrail.model import ModelReference, weights
from agentrail.model.local_server import CONTEXT, SLOTS

Mark = Literal["ok", "fix", "warn", "?"]
"""Fine, to be put right, to be looked at, not checked."""

_STYLES: Final[Mapping[Mark, str]] = {"ok": "green", "fix": "red", "warn": "yellow", "?": "dim"}


@frozen
class Finding:
    """What one check found."""

    mark: Mark
    what: str


def doctor(spec: str, port: int, data_dir: Path | None) -> bool:
    """Print what is fine and what is not; tell whether nothing has to be put right."""
    console = Console(highlight=False)
    findings = [_python(), _servers(), _port(port)]
    try:
        app = load_app(spec, data_dir)
    except AgentrailError as error:
        findings.append(Finding("fix", f"application {spec}: {error}"))
    else:
        agents = ", ".join(app.host.agents())
        findings.append(Finding("ok", f"application {spec}: agents {agents}"))
        findings.append(_data_dir(app.host.core.config.data_dir))
        findings.extend(_models(app))
    for finding in findings:
        mark = (f"{finding.mark:5}", _STYLES[finding.mark])
        console.print(Text.assemble(mark, finding.what), soft_wrap=True)
    return all(finding.mark != "fix" for finding in findings)


def _python() -> Finding:
    return Finding("ok", f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}")


def _servers() -> Finding:
    missing = [name for name in ("uvicorn", "hypercorn") if not _installed(name)]
    if missing:
        what = f"no {' and no '.join(missing)}: {pip_install('server')}"
        return Finding("fix", what)
    return Finding("ok", "HTTP servers: uvicorn (asyncio), hypercorn (trio)")


def _port(port: int) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            what = f"port {port} is taken ({error.strerror}): serve with --port, or stop the other"
            return Finding("fix", what)
    return Finding("ok", f"port {port} is free")


def _data_dir(path: Path) -> Finding:
    """Find out whether a host could keep data there; a missing directory stays missing."""
    there = next(each for each in (path, *path.absolute().parents) if os.path.lexists(each))
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        where = "" if there == path else f" in {there}"
        return Finding("fix", f"data directory {path}{where}: {error.strerror}")
    can = "can be written" if there == path else "is not there yet; it can be made"
    return Finding("ok", f"data directory {path} {can}")


def _models(app: AgentApp) -> list[Finding]:
    own = {provider.name for provider in app.host.core.config.providers}
    windows: dict[str, int] = {}
    for served in app.host.composition.agents.values():
        for reference in (served.profile.model, *served.profile.fallbacks):
            windows[reference] = max(windows.get(reference, 0), served.profile.context_window)
    findings: list[Finding] = []
    for reference, window in sorted(windows.items()):
        parsed = ModelReference.parse(reference)
        check = None if parsed.provider in own else _CHECKS.get(parsed.provider)
        found = check(parsed.model, window) if check else _OWN
        findings.append(Finding(found.mark, f"model {reference}: {found.what}"))
    return findings


def _local(model: str, window: int) -> Finding:
    if model not in weights.MODELS:
        known = ", ".join(weights.MODELS)
        return Finding("fix", f"there is no such local model; there are: {known}")
    if not _installed("xllamacpp"):
        return Finding("fix", f"no xllamacpp: {pip_install('local')}")
    if weights.installed(weights.MODELS[model]) is None:
        return Finding("fix", "its weights are missing: agentrail local install")
    if window > CONTEXT // SLOTS:
        what = f"it takes {CONTEXT // SLOTS} tokens, a profile's context_window is {window}"
        return Finding("warn", what)
    return Finding("ok", "weights and runtime are there")


def _upstream(key: str, base_url: str, _model: str, _window: int) -> Finding:
    found = [f"{name} is set" for name in (key, base_url) if os.environ.get(name)]
    if not found:
        return Finding("fix", f"set {key} (and {base_url} for another server)")
    what = f"{', '.join(found)}; whether the server answers was not checked"
    return Finding("ok", what)


_OWN: Final = Finding("?", "of the application's own provider; it was not checked")
_openai = partial(_upstream, "OPENAI_API_KEY", "OPENAI_BASE_URL")
_anthropic = partial(_upstream, "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL")
_CHECKS: Final[Mapping[str, Callable[[str, int], Finding]]] = {
    "local": _local,
    "openai": _openai,
    "openai-responses": _openai,
    "anthropic": _anthropic,
}


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
