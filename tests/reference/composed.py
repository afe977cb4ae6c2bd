"""The reference host, composed anew around another model and a directory of the test's."""

from pathlib import Path

from attrs import evolve, frozen

from agentrail import AgentApp, AppConfig, Commands, ModelProvider, create_app, standard_routes
from agentrail.plugin import PackageSettings
from agentrail.route import commands_route
from plugins.activity import ActivityTracker
from plugins.attachment_hints import attachment_hints
from plugins.attachment_readers import attachment_readers
from plugins.memory_index import MemoryIndex
from plugins.slash_commands import reset, summarize
from profiles.assistant import assistant
from profiles.editor import editor
from routes.activity import activity_route

PLUGINS = Path(__file__).parents[2] / "plugins"


@frozen
class Reference:
    """The reference host, and the plugin that a test asks how it fares."""

    app: AgentApp
    activity: ActivityTracker


def reference(
    data_dir: Path, model: ModelProvider | None = None, packages: PackageSettings | None = None
) -> Reference:
    """The application of ``app.py``; with ``model`` in the place of the one it names."""
    profiles = [assistant, editor]
    if model is not None:
        profiles = [evolve(each, model=f"{model.name}:m") for each in profiles]
    activity = ActivityTracker()
    memory = MemoryIndex(data_dir / "memory.db")
    commands = Commands([reset, summarize, *memory.commands])
    config = AppConfig(
        profiles=profiles,
        routes=[*standard_routes(), commands_route(commands), activity_route(activity.active)],
        plugins=[commands, activity, attachment_hints, *attachment_readers(1024), memory],
        packages=packages or PackageSettings(directories=[PLUGINS]),
        providers=[] if model is None else [model],
        data_dir=data_dir,
    )
    return Reference(create_app(config), activity)
