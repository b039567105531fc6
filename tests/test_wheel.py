"""What is installed from a wheel is complete, without the checkout beside it."""

import shutil
import subprocess
import sys
import zipfile

from helpers import REPOSITORY


def test_the_wheel_has_cards_template_and_type_marker(tmp_path):
    source = tmp_path / "source"
    left_here = shutil.ignore_patterns(".*", "runs", "build", "*.egg-info", "__pycache__")
    shutil.copytree(REPOSITORY, source, ignore=left_here)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, source]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    cards = {f"tlkeras_zoo/{card.name}" for card in (REPOSITORY / "zoo").glob("*.toml")}
    assert cards and cards <= names
    modules = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "tlkeras").rglob("*.py")}
    assert modules <= names
    templates = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "tlkeras").rglob("*.jinja")}
    assert len(templates) == 5 and templates <= names
    assert {"tlkeras/report.html", "tlkeras/py.typed"} <= names
