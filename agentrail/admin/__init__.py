"""The packages of a host over HTTP."""

from agentrail.admin._logs import LogLine, PackageLogs
from agentrail.admin._routes import api_routes

__all__ = ["LogLine", "PackageLogs", "api_routes"]
