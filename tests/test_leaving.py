import os
import signal
import subprocess
import sys
import threading

import pytest

from tlkeras import leaving
from tlkeras.errors import TryAgain


def test_the_first_sigterm_is_a_mark_to_look_at():
    before = signal.getsignal(signal.SIGTERM)
    with leaving.on_sigterm() as told:
        told.check()
        os.kill(os.getpid(), signal.SIGTERM)
        assert told.is_asked
        with pytest.raises(TryAgain, match="--resume"):
            told.check()
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_may_be_left_anywhere_ends_where_it_stands():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(TryAgain, match="--resume"), leaving.at_sigterm():
        with leaving.on_sigterm() as told:
            os.kill(os.getpid(), signal.SIGTERM)
            assert told.is_asked
        leaving.listen_again()
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_second_ends_at_once():
    kill = "os.kill(os.getpid(), 15)"
    program = (
        f"import os\nfrom tlkeras import leaving\nwith leaving.on_sigterm():\n {kill}; print('on', flush=True); {kill}"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "on\n")


def test_in_another_thread_nothing_changes():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with leaving.on_sigterm() as told:
            seen.append((told.is_asked, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
