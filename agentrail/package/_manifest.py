"""What a package says of itself: read from its manifest, before any of its code runs."""

import re
from collections.abc import Mapping
from typing import Final, Literal, cast, get_args

from attrs import field, frozen

from agentrail.config import Document
from agentrail.errors import Fault, PackageRefused
from agentrail.package._fields import Check, Fields
from agentrail.package._permissions import Permissions, list_fault
from agentrail.package._requirements import PluginRequirement, plugin_requirement, python_fault
from agentrail.package._schema import schema_fault
from agentrail.package._semver import Range, Version

PackageType = Literal["tool", "middleware", "hook", "integration"]

ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
_TOOL: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_TAG: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
_ENTRY: Final = re.compile(
    r"(?:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*|(?:[A-Za-z_]\w*/)*[A-Za-z_]\w*\.py)?(?::[A-Za-z_]\w*)?",
    re.ASCII,
)
_EVENT: Final = re.compile(r"on(?:Startup|Tool:[A-Za-z_][\w-]*|Hook:[a-z_]+)", re.ASCII)
_RESERVED: Final = frozenset(
    {"agentrail", "application", "host", "system", "events", "status", "upload"}
)
"""Names of the host itself, and of addresses beside those of the packages."""


@frozen(slots=True, kw_only=True)
class Resources:
    """What a package needs at most; held to where the place that it runs in can."""

    memory_mb: float = 256
    cpu: float = 0.5
    """Processors."""
    seconds: float = 30
    """How long one call of it may take."""


@frozen(slots=True)
class DeclaredTool:
    """A tool that a package will have once it is loaded."""

    name: str
    description: str
    parameters: Mapping[str, object] = field(factory=dict[str, object])
    """A JSON Schema."""


@frozen(slots=True, kw_only=True)
class Manifest:
    """What a package says of itself."""

    id: str
    """What the host knows it by, in addresses and in the names of its tools."""
    name: str
    """What people call it."""
    version: Version
    description: str = ""
    author: str = ""
    license: str = ""
    tags: tuple[str, ...] = ()
    type: PackageType = "tool"
    entry_point: str = ""
    """``module:attribute`` or ``file.py:attribute``; empty for the package's own module."""
    enabled: bool = True
    """Whether it is switched on when it is found in a directory of the application."""
    permissions: Permissions = field(factory=Permissions)
    resources: Resources = field(factory=Resources)
    requirements: tuple[str, ...] = ()
    """Python packages that it needs, as PEP 508 writes them."""
    plugins: tuple[PluginRequirement, ...] = ()
    """Other packages that must be active before it."""
    config: Mapping[str, object] = field(factory=dict[str, object])
    """What its configuration is where nobody says otherwise."""
    config_schema: Mapping[str, object] | None = None
    events: tuple[str, ...] = ()
    """What loads it, as ``onTool:forecast``; empty: it is loaded when it is switched on."""
    tools: tuple[DeclaredTool, ...] = ()
    requires_host: Range = field(factory=lambda: Range(""))
    origin: str = ""
    """What it was read from, as ``id@version sha256:…``; other files have another one."""


def parse_manifest(document: Document) -> Manifest:
    """Return what a manifest says.

    Raises:
        PackageRefused: with every fault, and where it is.
    """
    faults: list[Fault] = []
    fields = Fields(document, _as_toml(document), faults)
    if fields.has("manifest_version") and fields.anything("manifest_version") != 1:
        fields.fault("manifest_version", "this host knows version 1", "host_incompatible")
    if fields.has("tier"):
        message = "where it runs is for an administrator to say, not for the package"
        fields.fault("tier", message, "tier_not_allowed")
        fields.anything("tier")
    name = fields.text("name", longest=100)
    given = fields.text("id", longest=200, code="manifest_id", check=_id_fault)
    if not given and not fields.has("id"):
        given = name
        wrong = _id_fault(name) if name else "'id' is missing"
        if wrong:
            fields.fault("name" if name else "id", wrong, "manifest_id")
    dependencies = fields.table("dependencies")
    contributes = fields.table("contributes")
    activation = fields.table("activation")
    manifest = Manifest(
        id=given,
        name=name or given,
        version=_version(fields),
        description=fields.text("description", longest=2_000),
        author=_author(fields),
        license=fields.text("license"),
        tags=fields.texts("tags", check=_pattern(_TAG, "a tag in lower case"), most=20),
        type=_type(fields),
        entry_point=fields.text(
            "entry_point",
            code="manifest_entrypoint",
            check=_pattern(_ENTRY, "module:attribute or file.py:attribute"),
        ),
        enabled=fields.flag("enabled", default=True),
        permissions=_permissions(fields),
        resources=_resources(fields.table("resources")),
        requirements=dependencies.texts("python", code="dependency_forbidden", check=python_fault),
        plugins=_plugins(dependencies, given),
        config=fields.table("config").data,
        config_schema=_schema(fields, "config_schema"),
        events=activation.texts("events", check=_pattern(_EVENT, "an event")),
        tools=tuple(_tool(tool) for tool in contributes.tables("tools")),
        requires_host=_host(fields),
    )
    activation.no_more()
    dependencies.no_more()
    contributes.no_more()
    fields.no_more()
    if faults:
        raise PackageRefused(sorted(dict.fromkeys(faults), key=lambda fault: fault.line or 0))
    return manifest


def _as_toml(document: Document) -> Mapping[str, object]:
    """Return a manifest as ``plugin.toml`` would say it; JSON has two older spellings."""
    data = dict(document.data)
    if document.file.endswith(".toml"):
        return data
    for old, new in (("plugin_type", "type"), ("min_host", "requires_host")):
        if old in data and new not in data:
            data[new] = data.pop(old)
    if isinstance(data.get("dependencies"), list):
        data["dependencies"] = {"python": data["dependencies"]}
    schema = data.pop("schema", None)
    if isinstance(schema, dict) and "contributes" not in data:
        # One tool, which has the package's name.
        tool = {"name": data.get("name"), "description": data.get("description", "")}
        parameters = cast("dict[str, object]", schema).get("parameters", {})
        data["contributes"] = {"tools": [{**tool, "parameters": parameters}]}
    return data


def _pattern(pattern: re.Pattern[str], kind: str) -> Check:
    def check(text: str) -> str | None:
        return None if pattern.fullmatch(text) else f"{text[:80]!r} is not {kind}"

    return check


def _id_fault(text: str) -> str | None:
    if text in _RESERVED:
        return f"{text!r} is kept for the host itself: choose another id"
    if ID.fullmatch(text):
        return None
    return (
        f"{text[:80]!r} is no id: use up to 64 of a-z, 0-9, '-' and '_', "
        "with a letter or digit at both ends"
    )


def _version(fields: Fields) -> Version:
    text = fields.text("version", required=True, longest=400, code="manifest_version")
    try:
        return Version.parse(text or "0.0.0")
    except ValueError as error:
        fields.fault("version", str(error), "manifest_version")
        return Version.parse("0.0.0")


def _author(fields: Fields) -> str:
    if not isinstance(fields.data.get("author"), dict):
        return fields.text("author")
    author = fields.table("author")
    name, email = author.text("name"), author.text("email")
    author.no_more(("url",))
    return f"{name} <{email}>" if email else name


def _type(fields: Fields) -> PackageType:
    kinds = get_args(PackageType)
    text = fields.text("type", "tool", check=lambda text: _one_of(text, kinds))
    return cast("PackageType", text)


def _one_of(text: str, kinds: tuple[str, ...]) -> str | None:
    return None if text in kinds else f"{text[:80]!r} is none of {', '.join(kinds)}"


def _permissions(fields: Fields) -> Permissions:
    if isinstance(fields.data.get("permissions"), list):
        # The older JSON form says only that files of its own are read and written.
        words = fields.texts("permissions", check=lambda text: _one_of(text, ("read", "write")))
        own = ("data:",)
        return Permissions(read=own * ("read" in words), write=own * ("write" in words))
    asked = fields.table("permissions")
    found = {key: _allowed(asked, key) for key in ("network", "config", "secrets", "database")}
    files, topics = asked.data.get("filesystem"), asked.data.get("channels")
    if isinstance(files, bool):
        found |= dict.fromkeys(("read", "write"), ("data:",) if files else ())
        asked.anything("filesystem")
    else:
        table = asked.table("filesystem")
        found |= {key: _allowed(table, key) for key in ("read", "write")}
        table.no_more()
    if isinstance(topics, list):
        found["subscribe"] = _allowed(asked, "channels", "subscribe")
        found["publish"] = found["subscribe"]
    else:
        table = asked.table("channels")
        found |= {key: _allowed(table, key) for key in ("publish", "subscribe")}
        table.no_more()
    found["exec"] = () if asked.data.get("exec") is False else _allowed(asked, "exec")
    asked.anything("exec")
    native = asked.flag("native", default=False)
    asked.no_more()
    return Permissions(**found, native=native)


_PERMISSION_CODES: Final = {
    "read": "permission_filesystem",
    "write": "permission_filesystem",
    "publish": "permission_channel",
    "subscribe": "permission_channel",
    "secrets": "permission_secret",
}


def _allowed(fields: Fields, key: str, permission: str = "") -> tuple[str, ...]:
    permission = permission or key
    value = fields.data.get(key)
    if key == "network" and isinstance(value, bool):  # as the older JSON form says it
        fields.anything(key)
        return ("*",) if value else ()
    code = _PERMISSION_CODES.get(permission, f"permission_{permission}")
    return fields.texts(key, code=code, check=lambda text: list_fault(permission, text))


def _resources(fields: Fields) -> Resources:
    found = Resources(
        memory_mb=fields.number("memory_mb", 256, 512),
        cpu=fields.number("cpu", 0.5, 4),
        seconds=fields.number("seconds", 30, 600),
    )
    fields.no_more()
    return found


def _plugins(fields: Fields, own: str) -> tuple[PluginRequirement, ...]:
    found: list[PluginRequirement] = []
    for text in fields.texts("plugins", code="dependency_forbidden"):
        try:
            requirement = plugin_requirement(text)
        except ValueError as error:
            fields.fault("plugins", str(error), "dependency_forbidden")
            continue
        if requirement.id == own:
            fields.fault("plugins", "a package cannot depend on itself", "dependency_cycle")
        elif requirement.id in [other.id for other in found]:
            fields.fault("plugins", f"{requirement.id!r} stands there twice", "dependency_conflict")
        else:
            found.append(requirement)
    return tuple(found)


def _schema(fields: Fields, key: str) -> Mapping[str, object] | None:
    schema = fields.anything(key)
    if schema is None and not fields.has(key):
        return None
    wrong = schema_fault(schema)
    if wrong is not None:
        fields.fault(key, wrong)
        return None
    return cast("Mapping[str, object]", schema)


def _tool(fields: Fields) -> DeclaredTool:
    name = fields.text("name", required=True, check=_pattern(_TOOL, "a tool's name"))
    description = fields.text("description", longest=4_000)
    parameters = _schema(fields, "parameters")
    fields.no_more()
    return DeclaredTool(name, description, parameters or {})


def _host(fields: Fields) -> Range:
    text = fields.text("requires_host")
    try:
        found = Range.parse(text)
    except ValueError as error:
        fields.fault("requires_host", str(error), "host_incompatible")
        return Range("")
    return found
