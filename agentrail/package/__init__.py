"""Plugin packages: what one is, and how it is taken in."""

from agentrail.package._content import check_content, host_modules, module_names
from agentrail.package._context import Backing, PackageState, PluginContext, Secret
from agentrail.package._document import has_manifest
from agentrail.package._files import PackageFile, PackageFiles, files_of
from agentrail.package._forms import ExecutionContext, tool_name
from agentrail.package._limits import ArchiveLimits
from agentrail.package._manifest import DeclaredTool, Manifest, Resources
from agentrail.package._pack import pack
from agentrail.package._package import NAMES as MANIFESTS
from agentrail.package._package import Package, read_package
from agentrail.package._permissions import Permissions
from agentrail.package._requirements import PluginRequirement, missing_requirements
from agentrail.package._runner import InProcess, Loaded, Runner
from agentrail.package._schema import SchemaCheck, compile_schema
from agentrail.package._semver import Range, Version
from agentrail.package._store import PackageStore, Received

__all__ = [
    "MANIFESTS",
    "ArchiveLimits",
    "Backing",
    "DeclaredTool",
    "ExecutionContext",
    "InProcess",
    "Loaded",
    "Manifest",
    "Package",
    "PackageFile",
    "PackageFiles",
    "PackageState",
    "PackageStore",
    "Permissions",
    "PluginContext",
    "PluginRequirement",
    "Range",
    "Received",
    "Resources",
    "Runner",
    "SchemaCheck",
    "Secret",
    "Version",
    "check_content",
    "compile_schema",
    "files_of",
    "has_manifest",
    "host_modules",
    "missing_requirements",
    "module_names",
    "pack",
    "read_package",
    "tool_name",
]
