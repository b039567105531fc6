import csv
import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import REPOSITORY

from tlkeras.cli import main, predict, show_predictions
from tlkeras.predictions import Prediction

PROGRAM = [sys.executable, "-c", "from tlkeras.cli import main; main()", "predict"]


def printed(capsys, *arguments):
    capsys.readouterr()
    main(["predict", *map(str, arguments)])
    return capsys.readouterr().out


def test_csv_has_a_header_and_quotes(telling, photos, tmp_path, capfd):
    odd = tmp_path / 'a, "b"\n.jpg'
    odd.write_bytes(photos[0].read_bytes())
    rows = list(
        csv.DictReader(io.StringIO(printed(capfd, telling, odd, photos[1], "--csv", "--top-k", "2"), newline=""))
    )
    assert list(rows[0]) == ["input", "error", "is_unknown", "class1", "score1", "class2", "score2"]
    assert [row["input"] for row in rows] == [str(odd), str(photos[1])]
    assert all(row["error"] == "" and row["is_unknown"] in ("true", "false") for row in rows)
    assert float(rows[0]["score1"]) >= float(rows[0]["score2"])


def test_the_table_says_what_is_unknown(telling, photos, capsys):
    lines = printed(capsys, telling, *photos).splitlines()
    assert lines[0].split() == ["input", "class", "score", "then"] and len(lines) == 8
    assert any(" unknown " in line and " nearest: " in line for line in lines)


def test_a_list_on_standard_input_is_answered_as_it_comes(telling, photos):
    with subprocess.Popen(
        [*PROGRAM, telling, "-", "--json", "--batch-size", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=REPOSITORY,
    ) as process:
        for name in (photos[0], photos[1]):
            process.stdin.write(os.fsencode(name) + b"\n")
        process.stdin.flush()
        # There is an answer while the list is still open.
        assert json.loads(process.stdout.readline())["file"] == str(photos[0])
        out, err = process.communicate(b"none.jpg")
    assert process.returncode == 2 and err == b""
    assert [json.loads(line)["error"] for line in out.splitlines()] == [
        None,
        "cannot be read: No such file or directory",
    ]


@pytest.mark.parametrize("form", ["--json", "--csv", ""])
def test_a_reader_that_has_gone_is_no_fault_of_ours(telling, photos, form):
    files = " ".join(map(str, photos * 100))
    script = f"{' '.join(map(shlex.quote, PROGRAM))} {telling} {files} {form} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (141, "", 1)


def test_a_closed_output_is_no_fault_of_ours(telling, photos, tmp_path):
    script = f"{' '.join(map(shlex.quote, PROGRAM))} {telling} {photos[0]} --csv >&- <&-"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


def test_lines_are_split_as_they_are(monkeypatch):
    readable, writable = os.pipe()
    monkeypatch.setattr(predict, "_STDIN", readable)
    os.write(writable, b"one\n\ntwo\r\nlast")
    os.close(writable)
    assert list(predict._lines()) == [b"one", b"", b"two\r", b"last"]
    os.close(readable)


class _Many(list):
    has_unknown, top_k = False, 1


def test_odd_names_stay_on_their_line(capsys):
    name = os.fsdecode(b"\xc3\xa9\n\x1b[31m\xff.jpg")
    show_predictions.as_table([Prediction(Path(name), error="no")])
    assert capsys.readouterr().out.splitlines()[1].split() == [r"é\n\x1b[31m\udcff.jpg", "not", "answered:", "no"]


def test_a_table_is_printed_in_blocks(capsys, monkeypatch):
    monkeypatch.setattr(show_predictions, "_BLOCK", 2)
    many = _Many([Prediction(None, ["cat"], [0.5], text="x" * n) for n in (9, 3, 5)])
    assert show_predictions.as_table(many) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["input", "class", "score", "then"],
        ["x" * 9, "cat", "0.500"],
        ["x" * 3, "cat", "0.500"],
        ["x" * 5, "cat", "0.500"],
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'RUN_OR_EXPORT'"),
        (["--server", "http://localhost/v1/models/m"], "no files to predict"),
        (["--server", "localhost:8501", "{photo}"], "no address of a model on a server"),
        (["--server", "", "{photo}"], "no address of a model on a server"),
        (["--server", "http://localhost/v1/models/m", "{photo}", "--timeout", "nan"], "'--timeout': nan is no number"),
        (["{target}", "{photo}", "--timeout", "5"], "--timeout goes with --server. Received: --timeout 5 alone"),
        (["{target}", "none.jpg"], "there is no file none.jpg"),
        (["{target}", "*.none"], "nothing matches the pattern *.none"),
        (["{target}", "{photo}", "--batch-size", "0"], "--batch-size"),
    ],
)
def test_a_mistake_is_one_line(refusal, telling, photos, arguments, message):
    filled = [argument.format(target=telling, photo=photos[0]) for argument in arguments]
    assert message in refusal("predict", *filled)
