"""`tlkeras zoo`: which backbones there are, and the store of their weights."""

from __future__ import annotations

import click

from tlkeras.cli.lazy import LazyGroup

_COMMANDS = {
    "list": "tlkeras.cli.zoo.look:list_cards",
    "show": "tlkeras.cli.zoo.look:show_card",
    **{name: f"tlkeras.cli.zoo.store:{name}" for name in ("fetch", "verify", "bundle")},
    "add": "tlkeras.cli.zoo.own:add",
}


@click.group("zoo", cls=LazyGroup, homes=_COMMANDS, short_help="List the backbones; fetch, check and bundle weights.")
def command():
    """Look at the backbones that `--backbone` takes, and keep their weights where they are needed."""
