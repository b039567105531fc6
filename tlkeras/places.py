"""Folders of the user outside any run: what was fetched and can be fetched again, and what cannot."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """Returns where tlkeras keeps what it fetched: `$TLKERAS_HOME`, else `tlkeras` in the platform's cache folder."""
    if chosen := os.environ.get("TLKERAS_HOME"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "tlkeras"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tlkeras"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tlkeras"


def user_zoo() -> Path:
    """Returns the folder of the user's own cards: `$TLKERAS_ZOO`, else `tlkeras/zoo` in the platform's data folder.

    It is not in the cache, which anybody may empty at any time.
    """
    if chosen := os.environ.get("TLKERAS_ZOO"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming") / "tlkeras" / "zoo"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "tlkeras" / "zoo"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "tlkeras" / "zoo"


def bundled_zoo() -> Path:
    """Returns the folder of cards that came in bundles, with the weights that lie beside them; it is in the cache."""
    return cache_folder() / "bundled"
