"""A plugin whose package is loaded when one of its tools is first called."""

from collections.abc import Awaitable, Callable, Mapping

from agentrail.errors import ToolError
from agentrail.hook import Plugin, Tool
from agentrail.messages import ToolSpec
from agentrail.package import Manifest, tool_name
from agentrail.plugin import define_plugin
from agentrail.requests import RequestContext

Wake = Callable[[], Awaitable[Plugin]]
"""Loads and starts the package, unless it is, and returns its plugin."""


def is_lazy(manifest: Manifest) -> bool:
    """Tell whether a package is to be loaded when one of its tools is called, and not before."""
    events = manifest.events
    return bool(manifest.tools) and bool(events) and all(e.startswith("onTool:") for e in events)


def lazy_plugin(manifest: Manifest, wake: Wake) -> Plugin:
    """Return a plugin with the tools that a manifest declares, which loads the package for them."""
    loaded: list[Plugin] = []

    async def once() -> Plugin:
        # Turns that began with these tools go on with what they loaded, also when it is off.
        if not loaded:
            loaded.append(await wake())
        return loaded[0]

    tools = [_LazyTool(manifest, declared.name, once) for declared in manifest.tools]
    return define_plugin(manifest.id, version=str(manifest.version), tools=tools)


class _LazyTool:
    def __init__(self, manifest: Manifest, name: str, wake: Wake) -> None:
        declared = next(tool for tool in manifest.tools if tool.name == name)
        self.spec = ToolSpec(
            name=tool_name(manifest.id, name),
            description=declared.description,
            parameters=dict(declared.parameters) or {"type": "object", "properties": {}},
        )
        self.timeout = manifest.resources.seconds
        self.origin = manifest.origin
        self._wake = wake

    async def call(self, arguments: Mapping[str, object], context: RequestContext, /) -> object:
        """Call the tool of the loaded package."""
        plugin = await self._wake()
        tools: list[Tool] = list(getattr(plugin, "tools", ()))
        for tool in tools:
            if tool.spec.name == self.spec.name:
                return await tool.call(arguments, context)
        raise ToolError(f"the package declares {self.spec.name!r} and does not have it")
