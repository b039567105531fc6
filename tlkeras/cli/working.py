"""What each process of `tlkeras train` does, however it was started: it meets the others, if any, and trains."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

import click

from tlkeras import cluster, consoles, leaving
from tlkeras import spec as specs
from tlkeras.cli import quiet
from tlkeras.cluster import meeting
from tlkeras.errors import TlkerasError


def work(
    spec: specs.RunSpec,
    output: str | os.PathLike,
    *,
    resume: bool,
    devices: str,
    cluster_timeout: float,
    tell: Callable[[TlkerasError], None] | None = None,
) -> None:
    """Trains, alone or as the worker that TF_CONFIG or Slurm's variables say; the chief shows how it goes.

    Args:
        spec: The spec.
        output: The run folder.
        resume: Continue the run in the folder, where there is one.
        devices: As in `tlkeras.distribute.strategy`.
        cluster_timeout: Seconds to wait for the other workers.
        tell: As in `tlkeras.engine.team.Team`.

    Raises:
        TlkerasError: As `tlkeras.job.train` and `tlkeras.cluster.meeting.join`.
    """
    with leaving.at_sigterm():
        _work(spec, output, resume, devices, cluster_timeout, tell)


def _work(spec, output, resume, devices, cluster_timeout, tell):
    found = cluster.from_environment()
    if found is None:
        _train(spec, output, resume, devices, None, tell)
        return
    click.echo(found)
    # There is one way from here on, also where Slurm's variables named the workers.
    os.environ["TF_CONFIG"] = found.tf_config()
    # Once more within the meeting, so that the others hear in words why this one leaves.
    with meeting.join(found, dataclasses.asdict(spec), cluster_timeout) as met, leaving.at_sigterm():
        _train(spec, output, resume, devices, met, tell)
        # Who is done waits: TensorFlow takes one that goes for one that is lost.
        met.wait("the end")


def _train(spec, output, resume, devices, met, tell):
    with quiet.start():
        from tlkeras import job
        from tlkeras.cli import show, show_evaluation
        from tlkeras.engine.team import Team

    console = consoles.make()
    run = job.train(spec, output, resume=resume, console=console, devices=devices, team=Team(met, tell))
    if run is None:
        return
    if not run.folder.is_complete:
        judged = run.judged or run.evaluate(console=console)
        show_evaluation.show(judged, console)
        run.report(judged)
        show.exported(console, run.export())
    show.what_was_made(console, run)
