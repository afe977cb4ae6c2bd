"""Puts the reference host into the wheel, as the template that `agentrail new` copies."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

REFERENCE_HOST = {
    "app.py": "app.py",
    "plugins": "plugins",
    "profiles": "profiles",
    "routes": "routes",
    "tests/reference/test_app.py": "tests/test_app.py",
}


class TemplateHook(BuildHookInterface[Any]):
    """Adds the reference host to a real wheel, not to an editable one.

    hatchling's own `force-include` table applies to both kinds: an editable install would then
    copy the template once and never again, and the copy would go stale beside its original.
    A missing path fails the build, so that no wheel ships half a template.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Maps each path to its place in the wheel; hatchling calls it before the build."""
        if version == "editable":
            return
        for name, place in REFERENCE_HOST.items():
            source = str(Path(self.root, name))
            build_data["force_include"][source] = f"agentrail/cli/_template/{place}"
