"""Commands whose files are loaded when they are used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click

from tlkeras.errors import unknown_name


class LazyGroup(click.Group):
    """A group of commands, each of which stands in a file that no other command needs.

    Args:
        homes: `module:name` of each command, by what the user calls it.
    """

    def __init__(self, *arguments, homes: Mapping[str, str], **options):
        super().__init__(*arguments, **options)
        self._homes = homes

    def list_commands(self, context: click.Context) -> list[str]:
        """Lists the commands in the order in which they were given."""
        return list(self._homes)

    def get_command(self, context: click.Context, name: str) -> click.Command:
        """Loads a command.

        Raises:
            TlkerasError: There is none of this name.
        """
        if name not in self._homes:
            raise unknown_name("command", name, self._homes)
        module, _, attribute = self._homes[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
