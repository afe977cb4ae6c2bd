"""What administrators deal with in a host, over HTTP."""

from agentrail.admin._call import Managed
from agentrail.admin._logs import LogLine, PackageLogs
from agentrail.admin._routes import api_routes

__all__ = ["LogLine", "Managed", "PackageLogs", "api_routes"]
