"""`tlkeras zoo`: which backbones there are, and the store of their weights."""

from __future__ import annotations

import click

from tlkeras.cli.zoo import look, own, store


@click.group("zoo", short_help="List the backbones; fetch, check and bundle their weights.")
def command():
    """Look at the backbones that `--backbone` takes, and keep their weights where they are needed."""


for _command in (look.list_cards, look.show_card, store.fetch, store.verify, store.bundle, own.add):
    command.add_command(_command)
