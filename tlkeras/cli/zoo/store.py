"""`tlkeras zoo fetch`, `verify` and `bundle`: weights on this machine, and from one to another."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tlkeras import consoles, weights, zoo
from tlkeras.cli.zoo.look import CARD_OPTION, card_of
from tlkeras.errors import TlkerasError


@click.command("fetch")
@click.argument("names", metavar="NAME…", nargs=-1)
@click.option("--from-bundle", metavar="FILE", help="Import all of a bundle first; then NAME may be left out.")
@CARD_OPTION
def fetch(names, from_bundle, card_file):
    """Fetch the weights of the backbones NAME…, any of which may be hub:HANDLE, or of a bundle, and check them."""
    if not names and not from_bundle:
        raise TlkerasError("nothing named: give the names of backbones, or --from-bundle FILE")
    console = consoles.make()
    if from_bundle:
        from tlkeras import unbundle

        imported = unbundle.load(Path(from_bundle), card_file)
        names = list(dict.fromkeys([*imported, *names]))
    # A module is fetched also where it needs a card before it can be a backbone.
    cards = {name: None if name.startswith("hub:") else zoo.card(name, card_file) for name in names}
    for name, card in cards.items():
        source = card.source if card else name
        path = locate(source.removeprefix("hub:")) if source.startswith("hub:") else weights.fetch(card, console)
        if card and card.preprocessor:
            locate(card.preprocessor.removeprefix("hub:"))
        console.print(f"{name}: {path}")


@click.command("verify")
@CARD_OPTION
def verify(card_file):
    """Compare all weights that are on this machine with their checksums; exit code 1 if any differ."""
    console, found, damaged = consoles.make(), 0, 0
    for found, item in enumerate(weights.verify(zoo.cards(card_file).values()), start=1):  # noqa: B007
        damaged += bool(item.wrong)
        state = f"DAMAGED ({item.wrong})" if item.wrong else "good" if item.known else "no checksum to compare with"
        console.print(f"{item.name}: {item.path}: {state}")
    console.print(f"{found} found, {damaged} damaged")
    if damaged:
        sys.exit(1)


@click.command("bundle")
@click.argument("out", metavar="OUT.tar")
@click.argument("names", metavar="NAME…", nargs=-1, required=True)
@CARD_OPTION
def bundle(out, names, card_file):
    """Write the cards and weights of the backbones NAME… into OUT.tar, for a machine without a network.

    A NAME may be hub:HANDLE: the module gets a card, and its name is shown.

    There, `--from-bundle OUT.tar` of `tlkeras train` or `tlkeras zoo fetch` imports it.
    """
    from tlkeras import bundles

    console = consoles.make()
    cards = [card_of(name, card_file, download=True) for name in dict.fromkeys(names)]
    size = bundles.write(Path(out), cards, locate, console)
    console.print(f"{out}: {', '.join(card.name for card in cards)}, {size / 1e6:.1f} MB")


def locate(handle: str) -> Path:
    """Finds the folder of a TF-Hub module; TensorFlow is loaded only for this."""
    from tlkeras.cli import quiet

    with quiet.start():
        from tlkeras.backbones import hub_places

    return hub_places.locate(handle)
