"""Plugins: what holds for every profile and every route."""

from agentrail.plugin._define import Members, define_plugin
from agentrail.plugin._life import Lives
from agentrail.plugin._settings import PackageSettings, secret_variable

__all__ = ["Lives", "Members", "PackageSettings", "define_plugin", "secret_variable"]
