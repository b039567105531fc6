"""What commands print: tables on a terminal, the same in plain text elsewhere."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tlkeras import consoles
from tlkeras import stages as stopwatches
from tlkeras.data.dataset import Data, Example
from tlkeras.export.checks import SKIPPED
from tlkeras.export.savedmodel import Exported
from tlkeras.run import Run
from tlkeras.spec import RunSpec
from tlkeras.trainable import Plan


def dry_run(console: Console, spec: RunSpec, data: Data, plans: list[Plan]) -> None:
    """Prints the resolved spec, the split, what is left out and, for each phase, what trains."""
    console.print(spec.to_toml())
    console.print(split(data))
    for left_out in data.excluded:
        console.print(f"left out: {left_out.name}: {left_out.reason}")
    for phase, plan in enumerate(plans, start=1):
        console.print(f"\nphase {phase}: trainable {plan.trainable}")
        console.print(stages(plan))


def split(data: Data) -> Table:
    """Makes a table of how many examples of each class each part has."""
    table = consoles.table("class", "train", "val", "test")
    for name, counts in data.counts().items():
        table.add_row(name, *(str(counts[part]) for part in ("train", "val", "test")))
    table.add_section()
    table.add_row("all", *(str(len(data.parts[part])) for part in ("train", "val", "test")))
    return table


def stages(plan: Plan) -> Table:
    """Makes a table of the stages from input to output: their parameters, and what of them trains."""
    table = consoles.table("stage", "layers", "parameters", "trained", "trains", "BatchNorm")
    for stage in plan.stages:
        counts = (f"{len(stage.layers)}", f"{stage.parameters:,}", f"{stage.trained_parameters:,}")
        table.add_row(stage.name, *counts, stage.trains, stage.batch_norm)
    total = sum(stage.parameters for stage in plan.stages)
    trained = sum(stage.trained_parameters for stage in plan.stages)
    table.add_section()
    table.add_row("all", "", f"{total:,}", f"{trained:,}", f"{trained / total:.1%}", "")
    return table


def exported(console: Console, export: Exported) -> None:
    """Prints where an export lies, how it compared with the model, and how many checks of it were made."""
    compared = export.parity
    skipped = [check for check in export.checks if check.status == SKIPPED]
    checks = f"; {len(export.checks) - len(skipped)} checks passed" if export.checks else ""
    checks += f", {len(skipped)} skipped" if skipped else ""
    console.print(
        f"\nexport {export.path}: answers {compared.count} test examples as the model does "
        f"(largest difference {compared.max_difference:.1e}){checks}"
    )
    for reason in dict.fromkeys(check.detail for check in skipped):
        console.print(f"skipped: {reason}")
    if export.removed:
        console.print(f"removed: version{'s'[: len(export.removed) > 1]} {', '.join(map(str, export.removed))}")


def doubt(console: Console, figures: dict) -> None:
    """Prints how well an export is calibrated, and how well it tells inputs that are none of the classes."""
    if found := figures.get("calibration"):
        error = found["expected_calibration_error"]
        console.print(
            f"calibration: temperature {found['temperature']:.3f}; expected calibration error on the test part "
            f"{error['before']:.4f} before, {error['after']:.4f} after"
        )
    if found := figures.get("unknown"):
        console.print(
            f"unknown: {found['score']} below {found['threshold']:.4g}; false alarms {found['false_alarm_rate']:.1%} "
            f"asked, {found['false_alarms_on_test']:.1%} on the test part"
        )
        if "auroc" in found:
            console.print(f"outliers: {found['outliers']:,}, {found['found']:.1%} found; AUROC {found['auroc']:.4f}")


def what_was_made(console: Console, run: Run) -> None:
    """Prints the test accuracy, where the results lie, how long it took and what to do with them next."""
    folder = run.folder
    export, accuracy = folder.newest_export, folder.read_metrics()["accuracy"]
    table = Table.grid(padding=(0, 2))
    for name, path in (
        ("model", folder.model_file),
        ("metrics", folder.metrics_of(None)),
        ("report", folder.report_file if folder.report_file.is_file() else None),
        ("export", export),
        ("split", folder.path / "split.csv"),
    ):
        if path:
            table.add_row(name, str(path))
    console.print(f"\ntest accuracy {accuracy['value']:.4f} ({accuracy['low']:.4f} to {accuracy['high']:.4f})\n")
    console.print(table)
    if run.watch:
        console.print(f"\n{stopwatches.in_one_line(run.watch.seconds)}")
    example = _for_predict(run.data.parts["test"])
    called = sys.argv[0]
    program = called if Path(called).name == "tlkeras" and not shutil.which("tlkeras") else "tlkeras"
    console.print(f"\nnext: {program} predict {shlex.quote(str(export or folder.path))} {example}")
    if export:
        console.print(f"then: {program} serve-check {shlex.quote(str(export))}")


def _for_predict(examples: Sequence[Example]) -> str:
    """Words one of the examples as arguments of `tlkeras predict`: an image file, or the shortest text."""
    if examples[0].text is None:
        return shlex.quote(str(examples[0].path))
    return f"--text {shlex.quote(min((example.text for example in examples), key=len))}"
