"""`tlkeras zoo list` and `show`: what the cards say."""

from __future__ import annotations

import contextlib
import json

import click

from tlkeras import consoles, zoo
from tlkeras.cli import quiet

CARD_OPTION = click.option("--card", "card_file", metavar="FILE", default="", help="File of cards of your own.")


def card_of(name: str, card_file: str, download: bool = False) -> zoo.Card:
    """Finds a card by its name, or loads the module of `hub:HANDLE` to see what it is, fetching it where allowed."""
    if not name.startswith("hub:"):
        return zoo.card(name, card_file)
    with quiet.start():
        from tlkeras import backbones
        from tlkeras.backbones import hub_places
    with contextlib.nullcontext() if download else hub_places.without_downloads():
        return backbones.find(name)


@click.command("list")
@click.option("--task", type=click.Choice(zoo.TASKS), help="Only backbones for images, or for texts.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of a table.")
@CARD_OPTION
def list_cards(task, as_json, card_file):
    """List all backbones."""
    cards = [card for card in zoo.cards(card_file).values() if task in (None, card.task)]
    if as_json:
        for card in cards:
            click.echo(json.dumps(card.to_dict(), ensure_ascii=False))
        return
    headings = ("name", "input", "features", "parameters", "top-1", "MB", "weights from", "license")
    table = consoles.table(*headings, words=("weights from", "license"))
    for card in cards:
        taken = str(card.input_size) if card.task == "image" else "text"
        parameters = f"{card.parameters / 1e6:.1f} M"
        top1, size = f"{card.top1:.1%}" if card.top1 else "", f"{card.size_mb:.0f}" if card.size_mb else ""
        table.add_row(card.name, taken, str(card.features), parameters, top1, size, card.scheme, card.license)
    consoles.make().print(table)


@click.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@CARD_OPTION
def show_card(name, as_json, card_file):
    """Show all that is known of the backbone NAME, which may be hub:HANDLE."""
    values = card_of(name, card_file).to_dict()
    if as_json:
        click.echo(json.dumps(values, ensure_ascii=False))
        return
    console = consoles.make()
    for key, value in values.items():
        if value is None or value == {}:
            continue
        if isinstance(value, (list, tuple)):
            value = "  ".join(map(str, value))
        console.print(f"{key:<12} {value}")
