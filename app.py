"""A host: two agents, their plugins, the standard routes and one of its own.

Run it with ``agentrail serve``, or with any ASGI server as ``app:app``.
"""

from pathlib import Path

from agentrail import AppConfig, Commands, create_app, standard_routes
from agentrail.plugin import PackageSettings
from agentrail.route import commands_route
from plugins.activity import ActivityTracker
from plugins.attachment_hints import attachment_hints
from plugins.attachment_readers import attachment_readers
from plugins.memory_index import MemoryIndex
from plugins.slash_commands import reset, summarize
from profiles import WINDOW
from profiles.assistant import assistant
from profiles.editor import editor
from routes.activity import activity_route

PLUGINS = Path(__file__).with_name("plugins")


def config() -> AppConfig:
    """Return what the application is made of, made anew: a test has its own."""
    activity = ActivityTracker()
    memory = MemoryIndex()
    commands = Commands([reset, summarize, *memory.commands])
    readers = attachment_readers(chars=WINDOW // 2)
    return AppConfig(
        profiles=[assistant, editor],
        routes=[*standard_routes(), commands_route(commands), activity_route(activity.active)],
        plugins=[commands, activity, attachment_hints, *readers, memory],
        packages=PackageSettings(directories=[PLUGINS]),
    )


app = create_app(config())
