"""`tlkeras zoo add`: a card of the user's own."""

from __future__ import annotations

from pathlib import Path

import click

from tlkeras import card_files, consoles, zoo
from tlkeras.cli import quiet
from tlkeras.errors import TlkerasError
from tlkeras.files import atomic_write
from tlkeras.places import user_zoo


@click.command("add")
@click.argument("file", metavar="FILE.toml")
def add(file):
    """Check the cards in FILE.toml, building each network once, and copy it to your own zoo, which is always read.

    That is the folder that TLKERAS_ZOO names, or `tlkeras/zoo` in the platform's folder of user data.
    """
    source, folder = Path(file), user_zoo()
    if source.suffix != ".toml":
        raise TlkerasError(f"a card file is named NAME.toml. Received: {file!r}")
    folder.mkdir(parents=True, exist_ok=True)
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
    atomic_write(target, card_files.movable_text(source))
    consoles.make().print(f"{', '.join(card.name for card in cards)}: {target}")
