"""The table of `peers.py`: medians, ratios within the same round, and whether the goals are reached."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path

import ways

FILE = "measured.jsonl"
# The faster of the two Keras ways, on a CPU.
BASE = "keras-no-xla"
_SLACK = 0.01


@dataclass(frozen=True)
class Goal:
    """What a way is to reach in a workload.

    Attributes:
        workload: Name of the workload.
        way: Name of the way.
        other: The way to compare with.
        least: At least that many times faster than the other.
        most: At most that many times its time, where there is no `least`.
        megabytes: Peak memory, where it has a limit.
    """

    workload: str
    way: str
    other: str = BASE
    least: float = 0
    most: float = 0
    megabytes: int = 0


GOALS = (
    Goal("probe", "tlkeras-tensorflow", least=8),
    Goal("probe", "tlkeras-openvino", least=12),
    Goal("probe", "tlkeras-auto", least=12),
    Goal("probe", "tlkeras-tensorflow", "hand-tensorflow", most=1.3),
    Goal("probe", "tlkeras-openvino", "hand-openvino-keras", most=1.3),
    Goal("probe", "tlkeras-openvino", "hand-openvino", most=1.3),
    Goal("again", "tlkeras-tensorflow", least=20),
    Goal("again", "tlkeras-auto", least=20),
    Goal("tune", "tlkeras-tensorflow", least=2),
    Goal("tune", "tlkeras-auto", least=2),
    Goal("tune", "tlkeras-features-off", least=1),
    Goal("cifar", "tlkeras-tensorflow", least=8, megabytes=1500),
    Goal("cifar", "tlkeras-auto", least=8, megabytes=1500),
)


def read(work: Path) -> list[dict]:
    """Reads what was measured so far."""
    path = work / FILE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(rows: list[dict]) -> str:
    """Words what was measured as tables of Markdown, and the goals beneath."""
    texts = [text for work in ways.WORKLOADS.values() if (text := _of(work, rows))]
    goals = [f"- {text}" for goal in GOALS if (text := judge(goal, rows))]
    return "\n\n".join([*texts, "\n".join(goals)]).strip()


def _of(work: ways.Workload, rows: list[dict]) -> str:
    if not any(row["workload"] == work.name for row in rows):
        return ""
    # To predict takes no switch: XLA compiles training alone.
    base = "keras" if work.name == "predict" else BASE
    lines = [
        f"**{work.title}**",
        "",
        "| way | wall (runs) | CPU | times faster | accuracy | peak memory |",
        "|" + " --- |" * 6,
    ]
    for name, way in ways.WAYS.items():
        if not (found := runs(rows, work.name, name)):
            continue
        seconds, cpu, accuracy, peak = (
            statistics.median(row[key] for row in found) for key in ("seconds", "cpu_seconds", "accuracy", "peak_mb")
        )
        faster = times_faster(rows, work.name, name, base)
        cells = [f"{seconds:.1f} s ({len(found)})", f"{cpu:.1f} s", f"{faster:.1f}" if faster else ""]
        lines.append(f"| {' | '.join([way.title, *cells, f'{accuracy:.4f}', f'{peak / 1000:.2f} GB'])} |")
    if work.base:
        lines += ["", f"Who keeps nothing is here as above: {ways.WORKLOADS[work.base].title}."]
    return "\n".join(lines)


def runs(rows: list[dict], workload: str, way: str) -> list[dict]:
    """Lists the runs of a way; for a way that keeps nothing, a second time costs what the first one did."""
    work = ways.WORKLOADS[workload]
    if work.base and not ways.WAYS[way].keeps:
        workload = work.base
    return [row for row in rows if (row["workload"], row["way"]) == (workload, way)]


def times_faster(rows: list[dict], workload: str, way: str, other: str) -> float | None:
    """Compares two ways in each round that both were in, or, where there is none, the medians of all rounds.

    Returns:
        The median of how many times faster the way is; None where one of them has no runs.
    """
    mine, theirs = ({row["round"]: row["seconds"] for row in runs(rows, workload, name)} for name in (way, other))
    if not mine or not theirs:
        return None
    if both := mine.keys() & theirs.keys():
        return statistics.median(theirs[number] / mine[number] for number in both)
    return statistics.median(theirs.values()) / statistics.median(mine.values())


def judge(goal: Goal, rows: list[dict]) -> str:
    """Words what a way has reached of a goal; empty where it was not measured."""
    faster = times_faster(rows, goal.workload, goal.way, goal.other)
    if faster is None:
        return ""
    if goal.least:
        words, good = f"{faster:.1f} times faster than {goal.other} (goal {goal.least:g})", faster >= goal.least
    else:
        words, good = f"{1 / faster:.2f} times the time of {goal.other} (goal {goal.most:g})", 1 / faster <= goal.most
    found = runs(rows, goal.workload, goal.way)
    if base := runs(rows, goal.workload, BASE):
        mine, theirs = (statistics.median(row["accuracy"] for row in rows) for rows in (found, base))
        good = good and round(theirs - mine, 4) <= _SLACK
        words += f", accuracy {mine - theirs:+.4f}"
    if goal.megabytes:
        peak = statistics.median(row["peak_mb"] for row in found)
        good = good and peak < goal.megabytes
        words += f", {peak:.0f} MB (goal {goal.megabytes})"
    return f"{goal.workload}, {goal.way}: {words}: {'reached' if good else 'NOT reached'}"
