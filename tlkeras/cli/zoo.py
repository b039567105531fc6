"""`tlkeras zoo`: which backbones there are, from their cards alone."""

from __future__ import annotations

import click

from tlkeras import consoles, zoo


@click.group("zoo", short_help="List the backbones, or show one.")
def command():
    """Look at the backbones that `--backbone` takes."""


@command.command("list")
def list_cards():
    """List all backbones."""
    headings = ("name", "input", "features", "parameters", "ImageNet top-1", "source", "license")
    table = consoles.table(*headings, words=("source", "license"))
    for card in zoo.cards().values():
        top1 = f"{card.top1:.1%}" if card.top1 else ""
        parameters = f"{card.parameters / 1e6:.1f} M"
        table.add_row(card.name, str(card.input_size), str(card.features), parameters, top1, card.scheme, card.license)
    consoles.make().print(table)


@command.command("show")
@click.argument("name")
def show_card(name):
    """Show all that is known of the backbone NAME."""
    console = consoles.make()
    for key, value in zoo.card(name).to_dict().items():
        if value is None:
            continue
        if isinstance(value, (list, tuple)):
            value = "  ".join(map(str, value))
        console.print(f"{key:<12} {value}")
