import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import REPOSITORY

from tlkeras.cluster.launch import free_ports

INDEX = "import json, os, sys, time, signal; i = json.loads(os.environ['TF_CONFIG'])['task']['index']"


def launch(*arguments, **options):
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(REPOSITORY)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment} | options
    # What a shell starts in the background has Ctrl-C ignored, and passes that on.
    pipes.setdefault("preexec_fn", lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    return subprocess.Popen([REPOSITORY / "bin" / "launch-local", *map(str, arguments)], **pipes)


def run(*arguments):
    process = launch(*arguments)
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


def workers(count, program):
    return count, "--", sys.executable, "-c", f"{INDEX}\n{program}"


def test_each_worker_has_its_own_place():
    code, output, errors = run(*workers(3, "print(os.environ['TF_CONFIG'])"))
    lines = sorted(output.splitlines())
    configs = [json.loads(line[4:]) for line in lines]
    assert (code, errors) == (0, "") and [line[:4] for line in lines] == ["[0] ", "[1] ", "[2] "]
    assert [config["task"] for config in configs] == [{"type": "worker", "index": index} for index in range(3)]
    assert len({tuple(config["cluster"]["worker"]) for config in configs}) == 1
    assert len(set(configs[0]["cluster"]["worker"])) == 3


def test_lines_stay_whole_and_errors_stay_errors():
    program = "for n in range(300):\n for f in sys.stdout, sys.stderr:\n  f.write(f'{n} '), f.flush(), f.write('x\\n')"
    code, output, errors = run(*workers(3, program))
    expected = sorted(f"[{index}] {n} x" for index in range(3) for n in range(300))
    assert code == 0 and sorted(output.splitlines()) == sorted(errors.splitlines()) == expected


def test_of_a_bar_that_is_drawn_anew_the_last_state_is_shown():
    bar = "sys.stdout.write('start\\r\\n'); [print(f'\\r{n}/50', end='') for n in range(51)]"
    lines = run(*workers(1, bar))[1].splitlines()
    assert lines[0] == "[0] start" and lines[-1] == "[0] 50/50" and len(lines) < 50
    assert run(*workers(1, "print('no end of line', end='')"))[1] == "[0] no end of line\n"


def test_a_line_without_end_is_cut():
    lines = run(*workers(1, "print('x' * 200_000)"))[1].splitlines()
    assert len(lines) > 1 and sum(len(line) - 4 for line in lines) == 200_000


@pytest.mark.parametrize(
    "bad, code", [("sys.exit(75)", 75), ("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", 137), ("1 / 0", 1)]
)
def test_the_code_is_that_of_the_first_that_ended_badly(bad, code):
    assert run(*workers(2, f"if i: {bad}\nelse: time.sleep(100)"))[0] == code


def test_a_worker_that_says_try_again_is_heard_after_one_that_was_killed():
    other = "signal.signal(15, lambda *_: sys.exit(75))\n    print('ready', flush=True)\n    time.sleep(100)"
    killed = "time.sleep(1)\n    os.kill(os.getpid(), 9)"
    assert run(*workers(2, f"if i:\n    {other}\nelse:\n    {killed}"))[0] == 75


def test_workers_that_end_well_wait_for_each_other():
    assert run(*workers(2, "time.sleep(i); print('ended')"))[:2] == (0, "[0] ended\n[1] ended\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_all_workers(number):
    program = (
        f"signal.signal({int(number)}, lambda *_: (print('got it'), sys.exit(75)))\nprint('ready')\ntime.sleep(100)"
    )
    process = launch(*workers(2, program))
    assert sorted(process.stdout.readline() for _ in range(2)) == ["[0] ready\n", "[1] ready\n"]
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75 and sorted(output.splitlines()) == ["[0] got it", "[1] got it"]


def test_who_does_not_leave_is_killed(monkeypatch):
    stubborn = "signal.signal(15, signal.SIG_IGN)\nprint('ready')\ntime.sleep(100) if i else time.sleep(1)\nsys.exit(4)"
    program = (
        f"from tlkeras.cluster import launch\nlaunch._GRACE = 0.3\nsys.exit(launch.main({list(workers(2, stubborn))}))"
    )
    program = program.replace("[2, ", "['2', ")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{program}"], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 4


@pytest.mark.parametrize("arguments", [(), ("2",), ("2", "ls"), ("2", "--"), ("0", "--", "ls"), ("x", "--", "ls")])
def test_wrong_usage_is_one_line(arguments):
    code, output, errors = run(*arguments)
    assert (code, output, errors.count("\n")) == (2, "", 1) and errors.startswith("usage: launch-local N -- ")


def test_an_unknown_command_is_one_line():
    assert run(2, "--", "no-such-command") == (127, "", "launch-local: no-such-command: No such file or directory\n")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_when_the_launcher_is_ended(number):
    helper = "import subprocess; h = subprocess.Popen(['sleep', '100']); print(os.getpid(), h.pid)\nh.wait()"
    process = launch(*workers(2, helper))
    left = [int(pid) for _ in range(2) for pid in re.findall(r"\d+", process.stdout.readline())[1:]]
    assert len(left) == 4 and all(_runs(pid) for pid in left)
    process.send_signal(number)
    process.communicate(timeout=60)
    # The guard ends them a moment after the launcher.
    while any(_runs(pid) for pid in left):
        time.sleep(0.05)


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_output_that_nobody_reads_ends_the_workers():
    process = launch(*workers(1, "while True: print('x' * 1000)"))
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 128 + signal.SIGPIPE
    process.stderr.close()


def test_output_comes_whole_and_is_not_waited_for_when_another_holds_the_pipe():
    program = "import subprocess; subprocess.Popen(['sleep', '5'], start_new_session=True)\nprint('x' * 300_000)"
    process = launch(*workers(1, program))
    time.sleep(1)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and output.count("x") == 300_000


def test_ports_are_free_and_different():
    ports = free_ports(20)
    assert len(set(ports)) == 20 and all(1024 < port < 65536 for port in ports)
