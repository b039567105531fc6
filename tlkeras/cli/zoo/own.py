"""`tlkeras zoo add`: a card of the user's own."""

from __future__ import annotations

from pathlib import Path

import click

from tlkeras import card_files, checksums, consoles, weights, zoo
from tlkeras.cli import quiet
from tlkeras.errors import TlkerasError
from tlkeras.files import atomic_write
from tlkeras.places import user_zoo


@click.command("add")
@click.argument("file", metavar="FILE.toml")
def add(file):
    """Check the cards in FILE.toml, building each network once, and copy it to your own zoo, which is always read.

    That is the folder that TLKERAS_ZOO names, or `tlkeras/zoo` in the platform's folder of user data. Weights that a
    card names as file:PATH are loaded once, and their SHA-256 is added to the copy.
    """
    source, folder = Path(file), user_zoo()
    if source.suffix != ".toml":
        raise TlkerasError(f"a card file is named NAME.toml. Received: {file!r}")
    target = folder / source.name
    if target.exists():
        raise TlkerasError(f"{target} is there already: remove it, or give the new file another name")
    cards = zoo.read(source)
    # Finds a name that another card has.
    zoo.cards(source)
    with quiet.start():
        from tlkeras import backbones
    for card in cards:
        backbones.check(card)
    files = {card.name: weights.cached_path(card) for card in cards if card.scheme == "file" and not card.sha256}
    sums = {name: checksums.digest(path) for name, path in files.items()}
    atomic_write(target, card_files.movable_text(source, sums))
    consoles.make().print(f"{', '.join(card.name for card in cards)}: {target}")
