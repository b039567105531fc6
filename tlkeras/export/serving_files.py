"""What TensorFlow Serving is started with for an export: configurations, commands, and objects of Kubernetes."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2

from tlkeras import consoles
from tlkeras.data.dataset import Example
from tlkeras.errors import TlkerasError
from tlkeras.export import batching
from tlkeras.export.contract import MODEL_JSON
from tlkeras.export.serving import AT_A_TIME

# Names of objects of Kubernetes have up to 63 letters; ours get an ending.
_LONGEST_NAME = 50
_FLAGS = (
    "--model_config_file=/config/models.config",
    "--enable_batching=true",
    "--batching_parameters_file=/config/batching.config",
)
_GIB = 2**30
# What decoding takes for each pixel of a transparent PNG, rounded up from 6.6 that were measured.
_BYTES_A_PIXEL = 8


def render(version: Path, example: Path | str, name: str, latencies: Mapping[int, float] | None = None) -> str:
    """Words all files as one text, each under a line `# name of the file`, to be copied from there.

    Args:
        version: The version, `EXPORT/N`.
        example: An image file or a text, for the request and for the measurement.
        name: Becomes the name of the model, made safe.
        latencies: Seconds by batch size; measured where not given, which takes some seconds.

    Raises:
        TlkerasError: The version has no description, or is no longer there.
    """
    try:
        made = files(version, example, name, latencies or batching.measure(version, example))
    except (TlkerasError, OSError) as error:
        if version.exists():
            raise
        raise TlkerasError(
            f"{version} was removed before it could be measured, as by another export with --keep; export again"
        ) from error
    return "\n".join(f"# {title}\n{content}" for title, content in made.items())


def files(version: Path, example: Path | str, name: str, latencies: Mapping[int, float]) -> dict[str, str]:
    """Words `models.config`, `batching.config`, `docker run`, `kubernetes.yaml` and `curl`, as `render` does."""
    name, folder, about = safe_name(name), version.absolute().parent, _about(version)
    fitted = batching.fit(latencies)
    values = {
        "name": name,
        "folder": folder,
        "shown": consoles.visible(str(folder)),
        "image": f"tensorflow/serving:{_minor(about['versions']['tensorflow'])}.0",
        "mount": _mount(folder, f"/models/{name}"),
        "flags": _FLAGS,
        "batching": fitted,
        "drained": fitted.enqueued * fitted.latencies[fitted.rows],
        "longest_ms": round(1000 * batching.LONGEST_BATCH),
        "largest_request": batching.LARGEST_REQUEST,
        "memory": _memory(version, (about.get("serving") or {}).get("max_pixels", 0), fitted.threads),
        "file": shlex.quote(str(example.absolute())) if isinstance(example, Path) else None,
        "text": shlex.quote(json.dumps({"instances": [example]})) if isinstance(example, str) else None,
    }
    loader = jinja2.PackageLoader("tlkeras.export")
    environment = jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )

    def worded(template: str, **more: str) -> str:
        return environment.get_template(f"{template}.jinja").render(values | more)

    models, batches = worded("models.config"), worded("batching.config")
    return {
        "models.config": models,
        "batching.config": batches,
        "docker run": worded("docker.sh"),
        "kubernetes.yaml": worded("kubernetes.yaml", models_config=models, batching_config=batches),
        "curl": worded("curl.sh"),
    }


def example_of(examples: Sequence[Example]) -> Path | str:
    """Chooses an example to show: the first image, or the shortest text."""
    if examples[0].text is None:
        return examples[0].path
    return min((example.text for example in examples), key=len)


def safe_name(name: str) -> str:
    """Makes a name of a model that addresses and Kubernetes take: small letters, digits and single hyphens."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    safe = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    safe = safe if safe[:1].isalpha() else f"model-{safe}"
    return safe[:_LONGEST_NAME].strip("-")


def _about(version: Path) -> dict:
    try:
        return json.loads((version / MODEL_JSON).read_bytes())
    except (OSError, ValueError) as error:
        raise TlkerasError(f"{version / MODEL_JSON} cannot be read; give a version of an export") from error


def _minor(tensorflow: str) -> str:
    return ".".join(tensorflow.split(".")[:2])


def _mount(source: Path, target: str) -> str:
    """Words a mount for docker, which reads it as CSV, quoted for the shell."""
    line = io.StringIO()
    # The end of a line is among what is quoted where it is the terminator alone.
    csv.writer(line, lineterminator="\n").writerow(["type=bind", f"source={source}", f"target={target}", "readonly"])
    return shlex.quote(line.getvalue()[:-1])


def _memory(version: Path, max_pixels: int, threads: int) -> dict[str, int]:
    """Estimates the memory in GiB that a server takes: usually, and with the largest pictures in each thread."""
    size = sum(path.stat().st_size for path in version.rglob("*") if path.is_file())
    usual = _GIB + 3 * size
    most = usual + _BYTES_A_PIXEL * max_pixels * AT_A_TIME * threads
    return {"usual": math.ceil(usual / _GIB), "most": math.ceil(most / _GIB)}
