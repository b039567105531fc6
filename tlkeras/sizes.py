"""Amounts of memory and disk: in words, read from words, and what is free."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tlkeras.errors import TlkerasError

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
# Taken to be free where the system does not tell.
_SANE = 8 * 10**9


def parse(text: str, what: str) -> int:
    """Reads a number of bytes such as `2GB`, `500 MB` or `1.5GiB`.

    Args:
        text: A number and a unit.
        what: The setting that it is the value of, for the error.

    Raises:
        TlkerasError: It is something else.
    """
    found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([KMGT]?I?B)", text.strip().upper())
    if found is None or found[2] not in _UNITS:
        raise TlkerasError(
            f"{what} is a number and B, KB, MB, GB, TB, KiB, MiB, GiB or TiB, such as 500MB or 1.5GiB. "
            f"Received: {text!r}"
        )
    return int(float(found[1]) * _UNITS[found[2]])


def words(size: float) -> str:
    """Words a number of bytes with three digits: `1.25 GB`."""
    unit = max(
        (unit for unit in ("B", "KB", "MB", "GB", "TB") if size >= 0.9995 * _UNITS[unit]), default="B", key=_UNITS.get
    )
    value = size / _UNITS[unit]
    digits = 0 if unit == "B" or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {unit}"


def memory_budget(text: str = "auto") -> int:
    """Reads how much memory may be taken, in bytes; a quarter of what is free for `auto` or nothing.

    Raises:
        TlkerasError: It is no number of bytes.
    """
    if text.strip().lower() in ("", "auto"):
        return free_memory() // 4
    try:
        return parse(text, "")
    except TlkerasError:
        raise TlkerasError(
            f"an amount of memory is auto (a quarter of what is free), or a number and MB, GB, MiB or GiB, such as "
            f"500MB or 1.5GiB. Received: {text!r}"
        ) from None


def free_memory(root: str | os.PathLike = "/") -> int:
    """Returns the bytes of memory that this process could take: of the machine, and of the control groups it is in.

    Args:
        root: Where `proc` and `sys` are.
    """
    root = Path(root)
    free = [_of_machine(root), *_of_groups(root)]
    return max(0, min(free))


def _of_machine(root: Path) -> int:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    names = getattr(os, "sysconf_names", {})
    # What is free is not known everywhere; then half of all.
    for name, share in (("SC_AVPHYS_PAGES", 1), ("SC_PHYS_PAGES", 2)):
        if name in names and (pages := os.sysconf(name)) > 0:
            return pages * os.sysconf("SC_PAGE_SIZE") // share
    return _SANE


def _of_groups(root: Path) -> list[int]:
    """What each control group that this process is in leaves, in version 1 and 2 of them, in containers and outside."""
    found = []
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top, most, used, cached = (
            ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            if controllers
            else ("", "memory.max", "memory.current", "inactive_file")
        )
        group = Path(path.lstrip("/"))
        # In a container the path may be one of the host: the groups seen are then those at the top.
        for part in {group, *group.parents}:
            folder = root / "sys/fs/cgroup" / top / part
            limit, usage = (_number(folder / name) for name in (most, used))
            if limit is not None and usage is not None:
                statistics = dict(line.split(maxsplit=1) for line in _lines(folder / "memory.stat") if " " in line)
                found.append(limit - usage + int(statistics.get(cached, 0)))
    return found


def _number(path: Path) -> int | None:
    lines = _lines(path)
    return int(lines[0]) if lines and lines[0].isdecimal() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
