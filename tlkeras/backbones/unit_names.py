"""What the names of a module's variables tell: which belong to one layer, which layers to one stage, and their order.

A SavedModel has no layers, only variables; their names are paths, `block1a_expand_bn/gamma:0`, in every style that the
modules of TF-Hub have.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Sequence

# The unit of variables whose names tell nothing, and so the one stage of such a module.
NAMELESS = "module"
# What layers and stages of a model with a head are called, and `trainable` takes; units must not be called so.
_TAKEN = {"all", "dropout", "head", "image", "logits", "pooling", "preprocess", "preprocessor", "text"}
# A number that counts; not that of conv2d, nor the first of 3x3.
_INDEX = re.compile(r"(?<!conv)(?<!Conv)\d+(?![\dxX])|(?<=onv)\d+(?![\ddxDX])")
# The longest pattern that a card may have.
_LONGEST = 5000
_SPECIAL = re.compile(r"([.^$*+?{}\[\]\\|()])")


def units(names: Sequence[str]) -> dict[str, list[int]]:
    """Groups variables by the path of their names without its last component.

    Several names without a path, unless they are unique and count (`layer_3_kernel`), tell nothing: those are one unit.
    Units stand in the order of their first variable. Where numbered ones stand in alphabetical order, as the variables
    of some modules do, they are put in the order of their numbers: `layer_2` before `layer_10`.

    Args:
        names: Names of variables in the order in which the module lists them.

    Returns:
        For each unit the indices of its variables.
    """
    paths = [name.partition(":")[0] for name in names]
    bare = [path for path in paths if "/" not in path]
    telling = len(bare) == 1 or (len(set(bare)) == len(bare) and all(map(_INDEX.search, bare)))
    found: dict[str, list[int]] = {}
    for index, path in enumerate(paths):
        name = path.rpartition("/")[0] or (path if telling else NAMELESS)
        found.setdefault(name, []).append(index)
    return {_free(name, found): found[name] for name in _naturally(list(found))}


def last_component(name: str) -> str:
    """Gives the name of a variable within its unit.

    >>> last_component("block1a_expand_bn/moving_mean:0")
    'moving_mean'
    """
    return name.partition(":")[0].rpartition("/")[2]


def stage_patterns(names: Sequence[str], weighty: Sequence[bool]) -> list[str]:
    """Finds the stages of a module in the names of its units.

    A stage is what shares a path up to its first number (`resnet/block1`, `transformer/layer_0`, the `block1` of
    `block1a_expand_conv`), or a parent where there is no number. Stages that would interleave are one stage, and so is
    one that has nothing to train with the stage before it. Where names make no sense in that way, all is one stage.

    Args:
        names: Names of units in their order, as `units` gives them.
        weighty: For each of them whether it has weights that train; BatchNorm does not count.

    Returns:
        One regular expression a stage, each matching the whole names of its units and of no others.
    """
    keys = _keys(names)
    stages: list[list[int]] = []
    for index, key in enumerate(keys):
        home = next((i for i, stage in enumerate(stages) if any(keys[other] == key for other in stage)), None)
        if home is None:
            stages.append([index])
        else:
            stages[home:] = [[*itertools.chain.from_iterable(stages[home:]), index]]
    merged: list[list[int]] = []
    for stage in stages:
        is_light = not any(weighty[i] for i in stage)
        if merged and (is_light or not any(weighty[i] for i in merged[-1])):
            merged[-1] += stage
        else:
            merged.append(stage)
    patterns = []
    for stage in merged:
        # The first alternative names the stage.
        weighty_first = sorted(stage, key=lambda i: not weighty[i])
        patterns.append(_pattern([keys[i] for i in weighty_first], [names[i] for i in stage], names))
    return patterns if all(len(pattern) <= _LONGEST for pattern in patterns) else [f"{NAMELESS}|.*"]


def _free(name: str, others: Collection[str]) -> str:
    free = name
    while free in _TAKEN or (free != name and free in others):
        free += "_"
    return free


def _keys(names: Sequence[str]) -> list[str]:
    """Gives for each name the part of it that names the stage."""
    prefix = _shared_prefix([name for name in names if "/" in name])
    return [_key(name, prefix if name.startswith(prefix) else "") for name in names]


def _key(name: str, prefix: str) -> str:
    if match := _INDEX.search(name, len(prefix)):
        return name[: match.end()]
    return name.rpartition("/")[0] if "/" in name[len(prefix) :] else name


def _shared_prefix(names: Sequence[str]) -> str:
    """Gives the leading components that all names share, with the slash; something of each name is left."""
    if len(names) < 2:
        return ""
    split = [name.split("/")[:-1] for name in names]
    count = 0
    while all(len(parts) > count and parts[count] == split[0][count] for parts in split):
        count += 1
    return "".join(f"{part}/" for part in split[0][:count])


def _naturally(names: list[str]) -> list[str]:
    """Sorts names whose stages stand in alphabetical order by number, among the places that they hold together."""
    keys = _keys(names)
    families: dict[str, list[int]] = {}
    for place, key in enumerate(keys):
        if match := re.search(r"\d+$", key):
            families.setdefault(key[: match.start()], []).append(place)
    ordered = list(names)
    for prefix, places in families.items():
        if (stood := [keys[place] for place in places]) != sorted(stood):
            continue
        by_number = sorted(places, key=lambda place: int(keys[place][len(prefix) :]))
        for place, source in zip(places, by_number, strict=True):
            ordered[place] = names[source]
    return ordered


def _pattern(keys: Sequence[str], names: Sequence[str], others: Sequence[str]) -> str:
    alternatives = [_escaped(key) + (r"(?!\d).*" if key[-1].isdigit() else "(/.*)?") for key in dict.fromkeys(keys)]
    short = "|".join(alternatives)
    if [name for name in others if re.fullmatch(short, name)] == list(names):
        return short
    return "|".join(map(_escaped, names))


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)
