import time

from tlkeras import stages


def test_a_stage_stands_still_while_one_within_it_goes_on():
    with stages.recorded() as watch:
        with stages.stage("outer"), stages.stage("inner"):
            time.sleep(0.02)
        seconds = watch.seconds
    assert seconds["inner"] >= 0.02 and seconds.get("outer", 0) < seconds["inner"]


def test_time_in_no_stage_has_names_too():
    watch = stages.Stopwatch(time.monotonic() - 5)
    with stages.recorded(watch):
        with stages.stage("check"):
            time.sleep(0.002)
        time.sleep(0.002)
    assert list(watch.seconds) == ["start", "check", "other"] and 5 <= watch.seconds["start"] < 6


def test_a_watch_stands_still_between_two_blocks():
    with stages.recorded() as watch:
        assert stages.current() is watch
        with stages.recorded() as same:
            assert same is watch
    before = watch.seconds
    time.sleep(0.01)
    assert watch.seconds == before and stages.current() is None
    with stages.recorded(watch), stages.stage("later"):
        time.sleep(0.002)
    assert 0 < watch.seconds["later"] < 0.01 + before.get("start", 0) + 1


def test_nothing_is_taken_where_no_watch_runs():
    with stages.stage("unseen"):
        assert stages.current() is None


def test_one_line():
    line = stages.in_one_line({"start": 3.14, "build": 0.02, "head": 0.3})
    assert line == "time 3.5 s: start 3.1, head 0.3"
