"""Several workers of one command on this machine: `bin/launch-local N -- COMMAND …`."""

from __future__ import annotations

import functools
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from tlkeras.cluster import Cluster, prefixes, wire
from tlkeras.cluster.guard import Guard, end
from tlkeras.errors import TryAgain

_USAGE = "usage: launch-local N -- COMMAND [ARGUMENT…]   (N workers of the command, from 1 to 99)"
# Seconds between SIGTERM and SIGKILL.
_GRACE = 30.0
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


def main(arguments: list[str]) -> int:
    """Runs the command once for each worker and gives the exit code of the first that ended badly, or 0.

    Where a signal ended that one and another says 75, that all should be started again, it is 75.

    When one ends badly the others get SIGTERM, and SIGKILL if they are still there after 30 s.
    """
    if len(arguments) < 3 or not re.fullmatch("[1-9][0-9]?", arguments[0]) or arguments[1] != "--":
        print(_USAGE, file=sys.stderr)
        return 2
    command = arguments[2:]
    addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(int(arguments[0])))
    launcher = _Launcher()
    try:
        for index in range(len(addresses)):
            launcher.start(command, Cluster(addresses, index))
    except OSError as error:
        print(f"launch-local: {command[0]}: {error.strerror}", file=sys.stderr)
        launcher.stop(127 if isinstance(error, FileNotFoundError) else 126)
    return launcher.wait()


def free_ports(count: int) -> list[int]:
    """Finds ports that nobody has, below those that the system gives to outgoing connections."""
    try:
        lowest = int(_PORTS.read_text().split()[0])
    except (OSError, ValueError):
        lowest = 32768
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(10_000, lowest) if lowest > 11_000 else 0
        try:
            with wire.listen(port) as taken:
                port = taken.getsockname()[1]
        except OSError:
            continue
        if port not in found:
            found.append(port)
    return found


class _Launcher:
    def __init__(self):
        self._guard = Guard(_GRACE)
        self._running: list[subprocess.Popen] = []
        self._numbers: dict[int, int] = {}
        self._readers: list[threading.Thread] = []
        self._outputs = prefixes.Output(1), prefixes.Output(2)
        self._code, self._was_killed, self._has_passed_on = 0, False, False
        self._kill_at: float | None = None
        for number in _FORWARDED:
            # nohup and shells have some of them ignored, which stays so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda number, _: self._pass_on(number))

    def start(self, command: list[str], cluster: Cluster) -> None:
        environment = {**os.environ, "TF_CONFIG": cluster.tf_config()}
        # Python keeps lines back when it writes to a pipe.
        environment.setdefault("PYTHONUNBUFFERED", "1")
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A group of its own: what the worker starts ends with it, and Ctrl-C comes from here, once.
            start_new_session=True,
        )
        self._guard.add(process.pid)
        self._running.append(process)
        self._numbers[process.pid] = cluster.index
        for pipe, output in zip((process.stdout, process.stderr), self._outputs, strict=True):
            over = functools.partial(self._is_over, process)
            arguments = (pipe.fileno(), b"[%d] " % cluster.index, output.write, over)
            self._readers.append(threading.Thread(target=prefixes.pass_on, args=arguments, daemon=True))
            self._readers[-1].start()

    def wait(self) -> int:
        while self._running:
            for process in list(self._running):
                code = self._ended(process)
                if code == TryAgain.exit_code and self._was_killed:
                    # Those that lost the one that was killed know whether it helps to start again.
                    self._code = code
                elif code and not self._code:
                    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                    print(f"launch-local: worker {self._numbers[process.pid]} {how}", file=sys.stderr, flush=True)
                    self._was_killed = code < 0
                    self.stop(code if code > 0 else 128 - code)
            if any(output.is_broken for output in self._outputs):
                self.stop(128 + signal.SIGPIPE)
            if self._kill_at and time.monotonic() > self._kill_at:
                self._signal(signal.SIGKILL)
            time.sleep(0.02)
        for reader in self._readers:
            reader.join()
        self._guard.dismiss()
        return self._code

    def stop(self, code: int) -> None:
        if self._code:
            return
        self._code = code
        self._kill_at = time.monotonic() + _GRACE
        # Who was told to leave is leaving: a second signal would break that off.
        if not self._has_passed_on:
            self._signal(signal.SIGTERM)

    def _ended(self, process: subprocess.Popen) -> int | None:
        if not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return None
        self._running.remove(process)
        # What it left behind goes as well. The number of its group is its own until it is asked for its exit code.
        end({process.pid}, signal.SIGKILL)
        self._guard.remove(process.pid)
        return process.wait()

    def _is_over(self, process: subprocess.Popen) -> bool:
        return process not in self._running

    def _pass_on(self, number: int) -> None:
        self._has_passed_on = True
        self._signal(number)

    def _signal(self, number: int) -> None:
        end({process.pid for process in self._running}, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
