"""`tlkeras cache`: the features that are kept so that no frozen part computes them twice."""

from __future__ import annotations

import json
import time

import click

from tlkeras import consoles, sizes
from tlkeras.errors import TlkerasError, unknown_name
from tlkeras.features import folders


@click.group("cache", short_help="List and clear the features kept of frozen parts.")
def command():
    """Look after what frozen parts computed, which is kept so that it need not be computed again.

    All of it together takes at most TLKERAS_CACHE_LIMIT, such as 50GB; where that is not set, 20 GB or, if that is
    less, a tenth of the disk. What was not used for the longest time goes first. Weights and runs are not touched.
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of a table.")
def list_features(as_json):
    """List what is kept, last used first."""
    stores, most = folders.all_stores(), folders.limit()
    if as_json:
        for store in stores:
            values = {"key": store.key, "path": str(store.path), "about": store.about, "rows": store.rows()}
            values |= {"bytes": store.bytes, "last_used": store.used, "in_use": store.in_use()}
            click.echo(json.dumps(values, ensure_ascii=False))
        return
    console = consoles.make()
    if stores:
        words = ("model", "frontier", "dtype", "engine", "last used")
        table = consoles.table(
            "key", "model", "pixels", "frontier", "dtype", "engine", "rows", "size", "last used", words=words
        )
        for store in stores:
            about = {name: _worded(value) for name, value in store.about.items()}
            described = [about.get(name, "") for name in ("model", "image_size", "frontier", "dtype", "engine")]
            used = "now" if store.in_use() else time.strftime("%Y-%m-%d %H:%M", time.localtime(store.used))
            table.add_row(store.key[:8], *described, f"{store.rows():,}", sizes.words(store.bytes), used)
        console.print(table)
    total = sizes.words(sum(store.bytes for store in stores))
    console.print(f"{len(stores)} in {folders.root()}, {total} of at most {sizes.words(most)}")


def _worded(value: object) -> str:
    if value is None:
        return ""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


@command.command("clear")
@click.argument("keys", metavar="[KEY…]", nargs=-1)
def clear(keys):
    """Remove the features KEY…, or all; the beginning of a key will do. What is in use stays."""
    stores = folders.all_stores()
    chosen = list({store.key: store for store in (_find(key, stores) for key in keys)}.values()) if keys else stores
    console, freed = consoles.make(), 0
    for store in chosen:
        gone = folders.remove(store)
        freed += store.bytes if gone else 0
        size = sizes.words(store.bytes)
        state = f"removed, {size}" if gone else f"in use, left as it is ({size})"
        console.print(f"{store.key[:8]} {_worded(store.about.get('model'))}: {state}")
    console.print(f"{sizes.words(freed)} freed")


def _find(key: str, stores: list[folders.Folder]) -> folders.Folder:
    found = [store for store in stores if key and store.key.startswith(key)]
    if not stores:
        raise TlkerasError(f"nothing is kept in {folders.root()}. Received: {key!r}")
    if not found:
        raise unknown_name("key of features", key, [store.key[:8] for store in stores])
    if len(found) > 1:
        raise TlkerasError(f"several keys begin so: {', '.join(store.key[:12] for store in found)}. Received: {key!r}")
    return found[0]
