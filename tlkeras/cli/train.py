"""`tlkeras train`: data in, a trained, judged and exported model out."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import click

from tlkeras import consoles, sizes, zoo
from tlkeras import spec as specs
from tlkeras.cli import kinds, quiet
from tlkeras.errors import TlkerasError

# What an option means when it is given without a value.
_BARE = {"early_stopping": "3", "mixed_precision": "auto"}
_DEVICES = "auto, cpu, cpu:N (N logical devices), gpu, gpu:0,1 or tpu[:NAME].  [default: auto]"
_RAY = (
    "Train in --workers N processes of Ray: auto or HOST:PORT from a machine of its cluster, ray://HOST:PORT from any; "
    "local starts a Ray on this machine for this run. DATA and RUN lie on a disk that all its machines share."
)
_CACHE_MEMORY = (
    "Memory for what frozen layers give, such as 2GB; beyond it lies on disk.  [default: a quarter of what is free]"
)
_METAVARS = {int: "N", float: "X", list: "X,X,X", str: "TEXT"}


def _setting_options(command):
    defaults = specs.RunSpec()
    for item in reversed(dataclasses.fields(specs.RunSpec)):
        name, default = item.name, getattr(defaults, item.name)
        meaning, legal = item.metadata["meaning"], item.metadata["legal"]
        if name == "data":
            continue
        shown = ",".join(map(str, default)) if isinstance(default, list) else default
        about = f"{meaning[0].upper()}{meaning[1:]}{f' ({legal})' if legal else ''}"
        bare = {"is_flag": False, "flag_value": _BARE[name]} if name in _BARE else {}
        if isinstance(default, bool):
            bare = {"is_flag": True, "flag_value": "true"}
        command = click.option(
            f"--{name.replace('_', '-')}",
            name,
            default=None,
            metavar=_METAVARS.get(type(default)),
            help=f"{about}{f'  [default: {shown}]' if shown != '' else ''}",
            **bare,
        )(command)
    return command


@click.command("train", short_help="Train a head on a backbone, fine-tune, evaluate and export.")
@click.argument("data", required=False, type=kinds.PLACE)
@click.option("--data", "named_data", metavar="DATA", help="The same as the argument DATA.")
@click.option("--output", metavar="RUN", help="Run folder to write.")
@_setting_options
@click.option("--spec", "spec_file", metavar="FILE", help="TOML file of settings; options win over it.")
@click.option("--set", "pairs", metavar="KEY=VALUE", multiple=True, help="Any setting by its name in the spec file.")
@click.option("--from-bundle", metavar="FILE", help="Import a bundle of `tlkeras zoo bundle` first.")
@click.option("--resume", is_flag=True, help="Continue the run in RUN after its last finished epoch.")
@click.option("--no-export", is_flag=True, help="Leave out the export; --resume without this makes it.")
@click.option("--no-report", is_flag=True, help="Leave out the report; --resume without this makes it.")
@click.option("--cache-memory", default="", metavar="SIZE", help=_CACHE_MEMORY)
@click.option("--dry-run", is_flag=True, help="Print spec, split and what trains, and stop.")
@click.option("--devices", default="auto", metavar="DEVICES", help=_DEVICES)
@click.option("--ray", metavar="ADDRESS", help=_RAY)
@click.option("--workers", type=click.IntRange(1), metavar="N", help="How many workers Ray starts.")
@click.option(
    "--cluster-timeout",
    type=kinds.FloatRange(min=0, min_open=True),
    default=300.0,
    metavar="SECONDS",
    help="How long workers wait for each other at the start.  [default: 300]",
)
def command(
    data,
    named_data,
    output,
    spec_file,
    pairs,
    from_bundle,
    resume,
    no_export,
    no_report,
    cache_memory,
    dry_run,
    devices,
    ray,
    workers,
    cluster_timeout,
    **options,
):
    """Train on DATA and leave model, metrics, report and export in RUN.

    DATA is a folder of class folders (or of train/ and val/ or test/ with such folders inside), csv:FILE,
    tfds:NAME[:CONFIG] or digits; of texts, for a text backbone, also tsv:FILE.
    """
    given = specs.overrides(f"{key}={value}" for key, value in options.items() if value is not None)
    if data and named_data and data != named_data:
        raise TlkerasError(f"two data sources named: {data!r} and {named_data!r}")
    source = {"data": data or named_data} if data or named_data else {}
    spec = specs.make(specs.read(spec_file) if spec_file else {}, source, given, specs.overrides(pairs))
    if not spec.data:
        raise TlkerasError(
            "no data named: give a folder, csv:FILE, tsv:FILE, tfds:NAME or digits as DATA, or `data` in --spec"
        )
    if not output and not dry_run:
        raise TlkerasError("no run folder named: give --output RUN")
    sizes.memory_budget(cache_memory)
    if (ray is None) != (workers is None):
        raise TlkerasError("--ray ADDRESS and --workers N go together: where Ray runs, and how many workers it starts")
    if from_bundle:
        from tlkeras import unbundle

        unbundle.load(Path(from_bundle), spec.card)
    if not spec.backbone.startswith("hub:"):
        zoo.card(spec.backbone, spec.card)
    if dry_run:
        console = consoles.make()
        with quiet.start():
            from tlkeras import job
            from tlkeras.cli import show
        show.dry_run(console, *job.rehearse(spec, console, devices if ray is None else "auto"))
        return
    from tlkeras.cli import working

    how = {"resume": resume, "export": not no_export, "report": not no_report}
    how |= {"cache_memory": cache_memory, "cluster_timeout": cluster_timeout}
    if ray is None:
        working.work(spec, output, devices=devices, **how)
        return
    from tlkeras.cluster import on_ray, ray_connection

    ray_connection.check(ray, devices)
    with quiet.start():
        from tlkeras import job
    spec, output = job.absolute(spec), Path(output).expanduser().absolute()
    task = functools.partial(working.work, spec, output, **how)
    on_ray.run(task, ray, workers, devices=devices, timeout=cluster_timeout)
