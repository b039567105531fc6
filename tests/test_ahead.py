import threading

import pytest

from tlkeras.ahead import in_order, read_ahead


def test_what_was_read_ahead_comes_in_order_and_so_do_errors():
    def source():
        yield from range(5)
        raise OSError("gone")

    taken = read_ahead(source())
    assert [next(taken) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(OSError, match="gone"):
        next(taken)


def test_one_who_stops_early_leaves_no_thread_behind():
    taken = read_ahead(iter(int, 1))
    assert next(taken) == 0
    taken.close()
    (reader,) = [t for t in threading.enumerate() if t.name == "read ahead" and t.is_alive()] or [None]
    if reader:
        reader.join(5)
    assert not any(t.name == "read ahead" for t in threading.enumerate())


def test_two_work_at_once_and_outcomes_keep_their_order():
    meeting = threading.Barrier(2, timeout=30)

    def double(number):
        meeting.wait()
        return 2 * number

    assert list(in_order(double, range(6), at_once=2)) == [0, 2, 4, 6, 8, 10]
