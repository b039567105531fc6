import contextlib
import signal
import socket
import struct
import subprocess
import time

import pytest
from meeting_workers import Worker, addresses, meet

from tlkeras.cluster import wire

WATCH = """
m.free_port()
lost = threading.Event()
m.watch(lambda error: (print("told:", error, flush=True), lost.set()))
m.wait("watched")
"""


def test_all_get_what_the_chief_makes():
    body = "print(m.share(lambda: {'split': (1, 2), 'by': index}), len(m.share(lambda: bytes(5_000_000))))"
    assert meet(body, body, body) == [(0, "{'split': [1, 2], 'by': 0} 5000000")] * 3


def test_a_file_of_the_chief_is_copied_whole(tmp_path):
    (tmp_path / "0").write_bytes(bytes(range(256)) * 10_000)
    assert meet(*[f"m.share_file({str(tmp_path)!r} + f'/{{index}}')"] * 3) == [(0, "")] * 3
    assert {(tmp_path / name).read_bytes() for name in "012"} == {bytes(range(256)) * 10_000}
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_that_is_interrupted_appears_nowhere(tmp_path):
    body = f"""
    if index == 0:
        import signal
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        read = open('/dev/zero', 'rb').read
        file = type('File', (), {{'seek': lambda *_: 10_000_000, 'read': lambda _, size: read(min(size, 10))}})()
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        m._exchange('share_file', file)
    m.share_file('{tmp_path}/copy')
    """
    (chief, _), *others = meet(body, body, body)
    assert chief == -signal.SIGINT and not list(tmp_path.iterdir())
    assert all(code == 75 and "worker 0" in text for code, text in others)


def test_a_file_that_one_cannot_write_stops_all(tmp_path):
    source, target = tmp_path / "source", tmp_path / "source" / "target"
    source.write_bytes(b"1")
    *others, (code, output) = meet(*[f"m.share_file({str(source)!r} if index < 2 else {str(target)!r})"] * 3)
    assert code == 1 and "NotADirectoryError" in output.replace("FileExistsError", "NotADirectoryError")
    assert [code for code, _ in others] == [2, 2]
    assert all("worker 2" in text and "stopped" in text for _, text in others)


def test_settings_that_differ_stop_all_with_both_values():
    places = addresses(3)
    workers = [Worker(places, index, settings={"epochs": 3 if index < 2 else 5, "seed": 0}) for index in range(3)]
    ended = [worker.end() for worker in workers]
    line = f"worker 2 ({places[2]}) differs from worker 0 ({places[0]}): epochs 5 != 3"
    assert ended == [(2, line)] * 3


def test_another_version_stops_all(tmp_path):
    (tmp_path / "keras-9.9.dist-info").mkdir()
    (tmp_path / "keras-9.9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: keras\nVersion: 9.9\n")
    places = addresses(2)
    workers = Worker(places, 0), Worker(places, 1, path=tmp_path)
    for code, output in [worker.end() for worker in workers]:
        assert code == 2 and ": keras 9.9 != " in output and "tensorflow" not in output


def test_another_list_of_workers_stops_all():
    places = addresses(3)
    workers = Worker(places[:2], 0), Worker(places, 1)
    for code, output in [worker.end() for worker in workers]:
        assert code == 2 and f"workers {' '.join(places)} != {' '.join(places[:2])}" in output


@pytest.mark.parametrize("late", [0, 2])
def test_a_late_worker_is_waited_for(late):
    places = addresses(3)
    workers = [Worker(places, index) for index in range(3) if index != late]
    with pytest.raises(subprocess.TimeoutExpired):
        workers[0].process.wait(timeout=0.7)
    workers.append(Worker(places, late))
    assert [worker.end() for worker in workers] == [(0, "")] * 3


def test_who_is_missing_is_named():
    places = addresses(3)
    workers = [Worker(places, index, timeout=timeout) for index, timeout in ((0, 1.5), (1, 30.0))]
    line = f"worker 2 ({places[2]}) did not come within 1.5 s; start all workers again"
    assert [worker.end() for worker in workers] == [(75, line)] * 2


@pytest.mark.parametrize(
    "host, reason",
    [
        ("127.0.0.1", "refuses the connection, so that no chief was started there"),
        ("255.255.255.255", "cannot be reached (Network is unreachable)"),
        ("nobody.invalid", "the name of its host is not known here"),
    ],
)
def test_why_the_chief_is_missing_is_told(host, reason):
    port, own = addresses(2)
    code, output = Worker((port.replace("127.0.0.1", host), own), 1, timeout=0.3).end()
    assert code == 75 and output.startswith(f"worker 0 ({host}:") and reason in output


def test_another_program_on_the_port_of_the_chief_is_told():
    places = addresses(2)
    with socket.create_server(("", int(places[0].split(":")[1]))) as other:
        worker = Worker(places, 1, timeout=0.7)
        connection, _ = other.accept()
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        code, output = worker.end()
        assert code == 2
        assert output.startswith(f"worker 0 ({places[0]}) did not come within 0.7 s: another program has its port; end")
        connection.close()


@pytest.mark.parametrize("index", [0, 1])
def test_a_port_in_use_is_told(index):
    places = addresses(2)
    with socket.create_server(("", int(places[index].split(":")[1]))):
        code, output = Worker(places, index).end()
    assert code == 2 and f"the port of worker {index} ({places[index]}) is in use on this machine" in output


def test_the_chief_hears_of_a_port_in_use():
    places = addresses(2)
    with socket.create_server(("", int(places[1].split(":")[1]))):
        chief, worker = [Worker(places, index, timeout=60) for index in (0, 1)]
        for code, output in (chief.end(), worker.end()):
            assert code == 2 and f"the port of worker 1 ({places[1]}) is in use" in output


def test_a_host_that_nobody_knows_is_told():
    places = (*addresses(1), "nobody.invalid:2222")
    code, output = Worker(places, 0, timeout=0.5).end()
    assert code == 75 and "whose host's name is not known here" in output


def test_two_chiefs_are_told():
    places = addresses(2)
    first = Worker(places, 0, timeout=60)
    while not _is_taken(places[0]):
        time.sleep(0.02)
    for code, output in (Worker(places, 0, timeout=60).end(), first.end()):
        assert code == 2 and f"two processes say that they are worker 0 ({places[0]})" in output


def _is_taken(place):
    host, port = place.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def test_two_workers_of_one_number_are_told():
    places = addresses(3)
    workers = [Worker(places, index) for index in (0, 1, 1)]
    line = f"two processes say that they are worker 1 ({places[1]}): one on 127.0.0.1, one on 127.0.0.1"
    assert [worker.end() for worker in workers] == [(2, line)] * 3


def test_one_that_comes_when_all_are_here_disturbs_nobody(tmp_path):
    places, go = addresses(2), tmp_path / "go"
    body = f"print('met', flush=True)\nwhile not os.path.exists({str(go)!r}): time.sleep(0.05)"
    workers = [Worker(places, index, body) for index in (0, 1)]
    assert [worker.process.stdout.readline() for worker in workers] == ["met\n"] * 2
    code, output = Worker(places, 1).end()
    assert code == 2 and "two processes say that they are worker 1" in output
    go.touch()
    assert [worker.end() for worker in workers] == [(0, "")] * 2


RUBBISH = (
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"",
    wire.GREETING + struct.pack(">I", 2**31) + b"x",
    wire.GREETING + struct.pack(">I", 4) + b"{{{{",
    wire.GREETING + struct.pack(">I", 21) + b'{"worker": 1, "a": 1}',
    wire.GREETING + struct.pack(">I", 100_000) + b"[" * 100_000,
    wire.GREETING + struct.pack(">I", 33) + b'{"worker": "1","fingerprint": {}}',
)


def test_rubbish_on_the_port_does_no_harm():
    places = addresses(2)
    chief = Worker(places, 0)
    with contextlib.ExitStack() as connections:
        for rubbish in RUBBISH:
            closed, kept = (connections.enter_context(knock(places[0])) for _ in range(2))
            closed.sendall(rubbish)
            closed.shutdown(socket.SHUT_WR)
            kept.sendall(rubbish)
        follower = Worker(places, 1)
        assert follower.end() == chief.end() == (0, "")


def knock(address):
    for _ in range(200):
        try:
            return socket.create_connection(("127.0.0.1", int(address.split(":")[1])))
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise AssertionError("the chief does not listen")


def test_a_mistake_of_the_chief_stops_the_others():
    (code, _), *others = meet("m.share(lambda: open('/nowhere'))", *["m.share(None)"] * 2)
    assert code == 1
    assert {code for code, _ in others} == {2}
    assert all("worker 0" in text and "stopped: [Errno 2]" in text for _, text in others)


def test_a_fault_of_the_chief_invites_to_try_again():
    chief, (code, output) = meet("m.share(lambda: 1 / 0)", "m.share(None)")
    assert chief[0] == 1 and code == 75 and output.endswith("stopped: ZeroDivisionError")


def test_a_follower_that_fails_stops_the_chief_while_it_works():
    chief, _, other = meet("m.share(lambda: time.sleep(1.5))", "raise TlkerasError('no data here')", "m.share(None)")
    assert chief == other and chief[0] == 2 and chief[1].endswith("stopped: no data here")


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_worker_that_is_killed_while_the_chief_works_stops_the_others(index):
    kill = f"index == {index} and os.kill(os.getpid(), 9)\nm.share(lambda: 1)"
    ended = meet(kill, kill, kill)
    assert ended.pop(index)[0] == -signal.SIGKILL
    assert {code for code, _ in ended} == {75} and all(f"worker {index} (127" in text for _, text in ended)


@pytest.mark.parametrize("index", [0, 1])
def test_a_worker_that_is_killed_later_is_told_to_all_others(index):
    places = addresses(3)
    workers = [Worker(places, worker, f"{WATCH}print('watches', flush=True); lost.wait()") for worker in range(3)]
    assert [worker.process.stdout.readline() for worker in workers] == ["watches\n"] * 3
    workers[index].process.kill()
    assert workers.pop(index).end() == (-signal.SIGKILL, "")
    line = f"told: worker {index} ({places[index]}) went away; start all workers again with --resume"
    assert [worker.end() for worker in workers] == [(0, line)] * 2


def test_a_failure_is_waited_for():
    body = "index and os.kill(os.getpid(), 9); print(m.await_failure(60)); print(m.await_failure(0) is m.failure)"
    (code, output), _ = meet(body, body)
    assert code == 0 and "worker 1 (127" in output and output.endswith("True")


def test_a_goodbye_is_no_failure():
    early = f"{WATCH}time.sleep(0.5 * index); print(m.failure)"
    assert meet(early, early, early) == [(0, "None")] * 3


def test_a_goodbye_before_a_point_that_others_wait_at_is_told():
    for who in (0, 1):
        ended = meet(*[f"index == {who} or m.wait('end')"] * 3)
        assert ended.pop(who) == (0, "")
        assert all(code == 75 and f"worker {who} (" in text and "left before" in text for code, text in ended)


def test_the_connections_ask_whether_the_other_machine_is_there():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as connection:
        wire.keep_watch(connection)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_tensorflow_takes_the_ports_when_the_connections_stay():
    body = """
    m.free_port()
    os.environ["TF_CONFIG"] = m.cluster.tf_config()
    import tensorflow as tf
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    total = lambda: tf.distribute.get_replica_context().all_reduce("sum", tf.constant(index + 1.0))
    found = strategy.experimental_local_results(tf.function(strategy.run)(total))
    m.wait("end")
    print("total", float(found[0]))
    """
    for code, output in meet(body, body):
        assert code == 0 and output.splitlines()[-1] == "total 3.0"
