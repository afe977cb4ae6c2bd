"""A host: two agents, the standard routes and one of its own, four plugins.

Run it with ``agentrail serve``, or with any ASGI server as ``app:app``.
"""

from agentrail import AppConfig, Commands, create_app, standard_routes
from agentrail.route import commands_route
from plugins.activity import ActivityTracker
from plugins.attachment_hints import attachment_hints
from plugins.memory_index import MemoryIndex
from plugins.slash_commands import reset, summarize
from profiles.assistant import assistant
from profiles.editor import editor
from routes.activity import activity_route


def config() -> AppConfig:
    """Return what the application is made of, made anew: a test has its own."""
    activity = ActivityTracker()
    memory = MemoryIndex()
    commands = Commands([reset, summarize, *memory.commands])
    return AppConfig(
        profiles=[assistant, editor],
        routes=[*standard_routes(), commands_route(commands), activity_route(activity.active)],
        plugins=[commands, activity, attachment_hints, memory],
    )


app = create_app(config())
