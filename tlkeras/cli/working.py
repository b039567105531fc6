"""What each process of `tlkeras train` does, however it was started: it meets the others, if any, and trains."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import NamedTuple

import click

from tlkeras import cluster, consoles, leaving, stages
from tlkeras import spec as specs
from tlkeras.cli import BEGUN, quiet
from tlkeras.cluster import meeting
from tlkeras.errors import TlkerasError


def work(
    spec: specs.RunSpec,
    output: str | os.PathLike,
    *,
    resume: bool,
    devices: str,
    cluster_timeout: float,
    cache_memory: str = "",
    export: bool = True,
    report: bool = True,
    tell: Callable[[TlkerasError], None] | None = None,
) -> None:
    """Trains, alone or as the worker that TF_CONFIG or Slurm's variables say; the chief shows how it goes.

    Args:
        spec: The spec.
        output: The run folder.
        resume: Continue the run in the folder, where there is one.
        devices: As in `tlkeras.distribute.strategy`.
        cluster_timeout: Seconds to wait for the other workers.
        cache_memory: As in `tlkeras.train`.
        export: Export the model as well.
        report: Write a report as well.
        tell: As in `tlkeras.engine.team.Team`.

    Raises:
        TlkerasError: As `tlkeras.job.train` and `tlkeras.cluster.meeting.join`.
    """
    job = _Job(spec, output, resume, devices, cache_memory, export, report, tell)
    with stages.recorded(stages.Stopwatch(BEGUN)), leaving.at_sigterm():
        _meet(job, cluster_timeout)


class _Job(NamedTuple):
    spec: specs.RunSpec
    output: str | os.PathLike
    resume: bool
    devices: str
    cache_memory: str
    export: bool
    report: bool
    tell: Callable[[TlkerasError], None] | None


def _meet(job: _Job, cluster_timeout: float) -> None:
    found = cluster.from_environment()
    if found is None:
        _train(job, None)
        return
    click.echo(found)
    # There is one way from here on, also where Slurm's variables named the workers.
    os.environ["TF_CONFIG"] = found.tf_config()
    # Once more within the meeting, so that the others hear in words why this one leaves.
    with meeting.join(found, dataclasses.asdict(job.spec), cluster_timeout) as met, leaving.at_sigterm():
        _train(job, met)
        # Who is done waits: TensorFlow takes one that goes for one that is lost.
        met.wait("the end")


def _train(job: _Job, met: meeting.Meeting | None) -> None:
    with quiet.start():
        from tlkeras import job as jobs
        from tlkeras.cli import show, show_evaluation
        from tlkeras.engine.team import Team

    console = consoles.make()
    run = jobs.train(
        job.spec,
        job.output,
        resume=job.resume,
        console=console,
        devices=job.devices,
        team=Team(met, job.tell),
        cache_memory=job.cache_memory,
    )
    if run is None:
        return
    folder = run.folder
    lacks_report = job.report and not folder.report_file.is_file()
    if run.judged or lacks_report or not folder.metrics_of(None).is_file():
        judged = run.judged or run.evaluate(console=console)
        show_evaluation.show(judged, console)
        if lacks_report:
            run.report(judged)
    if job.export and folder.newest_export is None:
        show.exported(console, run.export(proven=False))
    run.write_stages()
    show.what_was_made(console, run)
