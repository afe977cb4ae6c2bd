"""The reference host: two agents, the standard routes and one of its own, four plugins.

Run it with ``agentrail serve``, or with any ASGI server as ``app:app``.
"""

from agentrail import AppConfig, create_app, standard_routes
from plugins.activity import ActivityTracker
from plugins.attachment_hints import attachment_hints
from plugins.memory_index import MemoryIndex
from plugins.slash_commands import SlashCommands
from profiles.assistant import assistant
from profiles.editor import editor
from routes.activity import activity_route

activity = ActivityTracker()

app = create_app(
    AppConfig(
        profiles=[assistant, editor],
        routes=[*standard_routes(), activity_route(activity.active)],
        plugins=[SlashCommands(), activity, attachment_hints, MemoryIndex()],
    )
)
