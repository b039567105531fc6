"""The house stands: imports point downward only, and start-up loads no TensorFlow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tlkeras"

# Rooms by floor; a room may import from its own floor and from those below.
FLOORS = [
    [
        *("errors", "files", "versions", "consoles", "places", "modules", "card_files", "zoo", "pth", "spec"),
        *("checksums", "archives", "download", "wheels", "weights", "bundles", "unbundle", "sizes"),
        *("cluster", "leaving", "stages", "metrics", "calibration", "unknown"),
        *("text_files", "patterns", "asked", "ahead", "predictions", "client"),
    ],
    ["backbones", "data", "distribute"],
    ["heads", "trainable", "builder", "precision"],
    ["features"],
    ["engine"],
    ["records", "evaluate", "doubt", "pictures", "report", "export", "predict"],
    ["run"],
    ["job", "convert"],
    ["cli"],
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
WITHOUT_TENSORFLOW = FLOORS[0]
# What took a command that needs none of it from 0.1 to 0.2 seconds.
_HEAVY = {"numpy", "ssl", "http", "urllib.request", "importlib.metadata", "socket", "concurrent.futures", "traceback"}
_HEAVY |= {"rich.progress", "tlkeras.archives", "tlkeras.cluster"}


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def files() -> list[Path]:
    return [file for file in sorted(PACKAGE.rglob("*.py")) if room_of(file) != "__init__"]


def imported_rooms(file: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tlkeras":
            path = node.module.split(".")[1:]
            rooms |= {path[0]} if path else {name.name for name in node.names} & set(FLOOR_OF)
        elif isinstance(node, ast.Import):
            rooms |= {name.name.split(".")[1] for name in node.names if name.name.startswith("tlkeras.")}
    return rooms


def test_every_room_has_a_floor():
    assert {room_of(file) for file in files()} == set(FLOOR_OF)


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_point_downward(file):
    above = {room for room in imported_rooms(file) if FLOOR_OF[room] > FLOOR_OF[room_of(file)]}
    assert not above, f"{file.name} imports from a floor above its own: {above}"


def loaded_after(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint('modules', *sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    return set(done.stdout.splitlines()[-1].split()[1:])


def command(*arguments: str) -> str:
    return f"from tlkeras.cli import main\ntry: main({list(arguments)})\nexcept SystemExit: pass"


HELP = tuple(command(*names, "--help") for names in ([], ["train"], ["zoo"], ["predict"]))
SPEC_ERROR = command("train", "photos", "--output", "run", "--epochs", "0")
LISTS = (command("cache", "list"), command("zoo", "list"), command("zoo", "show", "resnet50"))


@pytest.mark.parametrize(
    "code",
    [
        "import tlkeras",
        *(f"import tlkeras.{room}" for room in WITHOUT_TENSORFLOW),
        *(*HELP, SPEC_ERROR, *LISTS, command("zoo", "verify")),
    ],
)
def test_start_up_loads_no_tensorflow(code):
    assert loaded_after(code) & {"tensorflow", "keras", "sklearn", "matplotlib", "pandas"} == set()


@pytest.mark.parametrize("code", [*HELP, SPEC_ERROR, *LISTS])
def test_what_needs_no_tensor_starts_with_little(code):
    heavy = _HEAVY if code in LISTS else {*_HEAVY, "rich"}
    assert loaded_after(code) & heavy == set()


def test_the_check_would_see_tensorflow():
    assert "tensorflow" in loaded_after("import tlkeras.heads")


def test_another_backend_is_refused():
    program = "import os; os.environ['KERAS_BACKEND'] = 'jax'; import tlkeras"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "TensorFlow backend only" in done.stderr.splitlines()[-1]
