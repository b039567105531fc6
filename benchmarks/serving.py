"""How reliable and how fast an export is in TensorFlow's C library, which TensorFlow Serving runs on.

    python benchmarks/serving.py fuzz runs/flowers/export IMAGES... --requests 10000 --seed 0
    python benchmarks/serving.py kill runs/flowers --times 50
    python benchmarks/serving.py poll runs/flowers --minutes 5
    python benchmarks/serving.py load runs/flowers IMAGES... --seconds 20 --rounds 3

IMAGES are files that can be decoded; for a model of texts there are none, and its golden requests are taken. `kill` and
`poll` work on a copy of the run.
"""

import os
from pathlib import Path

import click

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
FILES = click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
RUN = click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))


@click.group(help=__doc__.split("\n")[0])
def main():
    pass


@main.command()
@click.argument("export", type=click.Path(exists=True, file_okay=False, path_type=Path))
@FILES
@click.option("--requests", default=10_000, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for requests that came out wrong.")
def fuzz(export, files, requests, seed, keep):
    """Damaged, huge and senseless requests, with good inputs beside them."""
    import serving_fuzz

    serving_fuzz.run(newest(export), files, requests, seed, keep)


@main.command()
@RUN
@click.option("--times", default=50, show_default=True)
@click.option("--seed", default=0, show_default=True)
def kill(run, times, seed):
    """Exporters that are killed at random moments."""
    import serving_exporters

    serving_exporters.kill(run, times, seed)


@main.command()
@RUN
@click.option("--minutes", default=5.0, show_default=True)
def poll(run, minutes):
    """Two exporters that remove old versions, while the newest is loaded again and again."""
    import serving_exporters

    serving_exporters.poll(run, minutes)


@main.command()
@RUN
@FILES
@click.option("--seconds", default=20.0, show_default=True, help="Of each measurement.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--threads", default=4, show_default=True)
def load(run, files, seconds, rounds, threads):
    """Sustained load, beside the same model without any guard."""
    import serving_load

    serving_load.run(run, newest(run / "export"), files, seconds, rounds, threads)


def newest(folder: Path) -> Path:
    """The newest version in an export folder, or the version itself."""
    from tlkeras.versions import versions

    if (folder / "saved_model.pb").is_file():
        return folder
    if found := versions(folder):
        return found[-1]
    raise click.UsageError(f"there is no version in {folder}")


if __name__ == "__main__":
    main()
