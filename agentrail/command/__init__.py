"""Slash commands: messages that the host answers itself, by typed functions."""

from agentrail.command._command import ADMIN, Command, Scope, command
from agentrail.command._commands import Commands
from agentrail.command._info import ArgumentInfo, CommandInfo
from agentrail.command._locale import in_language
from agentrail.command._parameter import Kind, Parameter
from agentrail.command._texts import ENGLISH, CommandInvalid, Texts
from agentrail.command._words import quote

__all__ = [
    "ADMIN",
    "ENGLISH",
    "ArgumentInfo",
    "Command",
    "CommandInfo",
    "CommandInvalid",
    "Commands",
    "Kind",
    "Parameter",
    "Scope",
    "Texts",
    "command",
    "in_language",
    "quote",
]
