"""`tlkeras zoo` as a user types it."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tlkeras import backbones, weights, zoo
from tlkeras.cli import main

MINE = """
[[variant]]
name = "mine"
extends = "efficientnet_lite0"
source = "file:mine.weights.h5"
"""


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    for variable, folder in (("TLKERAS_HOME", "cache"), ("KERAS_HOME", "keras"), ("TLKERAS_ZOO", "zoo")):
        (tmp_path / folder).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / folder))
    return tmp_path


@pytest.fixture
def mine(places):
    """A card file of the user's own beside what begins as a file of weights."""
    (places / "own").mkdir()
    (places / "own" / "mine.weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n the weights")
    (places / "own" / "mine.toml").write_text(MINE)
    return places / "own" / "mine.toml"


@pytest.fixture(scope="module")
def weights_of_lite0(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "mine.weights.h5"
    backbones.load(zoo.card("efficientnet_lite0"), "random").model.save_weights(path)
    return path


@pytest.fixture
def zoo_command(capsys):
    def command(*arguments):
        main(["zoo", *map(str, arguments)])
        return capsys.readouterr().out

    return command


def test_list(zoo_command, mine):
    printed = zoo_command("list", "--card", mine)
    assert len(printed.splitlines()) == len(zoo.cards()) + 2
    assert printed.splitlines()[0].split()[:3] == ["name", "input", "features"] and "mine" in printed
    assert max(map(len, printed.splitlines())) <= 120
    texts = zoo_command("list", "--task", "text").splitlines()[1:]
    assert len(texts) == sum(card.task == "text" for card in zoo.cards().values())
    rows = [json.loads(line) for line in zoo_command("list", "--task", "image", "--json").splitlines()]
    assert {zoo.Card.from_dict(row).name for row in rows} == {c.name for c in zoo.cards().values() if c.task == "image"}


def test_show(zoo_command, mine):
    assert "keras:ResNet50" in zoo_command("show", "resnet50")
    shown = json.loads(zoo_command("show", "mine", "--json", "--card", mine))
    assert shown["source"] == f"file:{mine.parent}/mine.weights.h5"


def test_add(zoo_command, refusal, mine, places, weights_of_lite0, capsys, monkeypatch):
    monkeypatch.setenv("TLKERAS_ZOO", str(places / "later" / "zoo"))
    path = Path(shutil.copy(weights_of_lite0, mine.parent))
    assert str(places / "later" / "zoo" / "mine.toml") in zoo_command("add", mine)
    assert zoo.card("mine").source == f"file:{mine.parent}/mine.weights.h5"
    assert zoo_command("fetch", "mine") == f"mine: {path}\n" and "good" in zoo_command("verify")
    assert "is there already" in refusal("zoo", "add", mine)
    assert "two cards are named 'mine'" in refusal("zoo", "add", shutil.copy(mine, mine.with_name("other.toml")))
    assert [path.name for path in (places / "later" / "zoo").iterdir()] == ["mine.toml"]
    with path.open("r+b") as file:
        file.seek(5_000_000)
        file.write(b"changed")
    assert "not those on the card of 'mine'" in refusal("zoo", "bundle", places / "b.tar", "mine")
    with pytest.raises(SystemExit):
        main(["zoo", "verify"])
    assert "DAMAGED" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/etc/passwd", "unknown suffix of weights, card 'mine', file /etc/passwd"),
        ("none.h5", "none.h5 is no file"),
        ("mine.weights.h5", "mine.weights.h5 cannot be read"),
    ],
)
def test_add_loads_the_weights(refusal, mine, places, source, message):
    mine.write_text(MINE.replace("mine.weights.h5", source))
    assert message in refusal("zoo", "add", mine)
    assert not list((places / "zoo").iterdir())
    if source != "mine.weights.h5":
        assert message in refusal("zoo", "bundle", places / "b.tar", "mine", "--card", mine)


def test_add_keeps_the_text_where_it_can(zoo_command, places):
    text = '# Mine.\n[[variant]]\nname = "small"\nextends = "resnet50"\ninput_size = 96\n'
    (places / "small.toml").write_text(text)
    zoo_command("add", places / "small.toml")
    assert (places / "zoo" / "small.toml").read_text() == text


def test_add_refuses_what_is_not_right(refusal, mine, places):
    mine.write_text(MINE + "features = 0\n")
    assert "mine.toml: card 'mine', key 'features'" in refusal("zoo", "add", mine)
    assert not list((places / "zoo").iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("features = 7", "card 'wrong', key 'features': it is 1280. Received: 7"),
        ('extends = "efficientnet_lite0"\nfeatures = 7', " with features = 7: one of the two is wrong"),
        ("parameters = 7", "key 'parameters': it is 2257984. Received: 7"),
        ('stages = ["Conv1.*"]', "is in no stage"),
        ("arguments = { mode = 1 }", "key 'arguments': only for hub: cards"),
        ('source = "keras:__name__"', "unknown network"),
    ],
)
def test_add_refuses_cards_that_do_not_tell_the_truth(refusal, places, changes, message):
    other = "" if "extends" in changes else 'extends = "mobilenet_v2"\n'
    (places / "wrong.toml").write_text(f'[[variant]]\nname = "wrong"\n{other}{changes}\n')
    assert message in refusal("zoo", "add", places / "wrong.toml")
    assert not list((places / "zoo").iterdir())


def test_fetch_and_verify(zoo_command, mine, capsys):
    assert zoo_command("fetch", "mine", "--card", mine) == f"mine: {mine.parent / 'mine.weights.h5'}\n"
    assert "no checksum" in zoo_command("verify", "--card", mine)
    path = weights.cached_path(zoo.card("efficientnet_lite0"))
    path.parent.mkdir()
    path.write_bytes(b"damaged")
    with pytest.raises(SystemExit) as left:
        main(["zoo", "verify", "--card", str(mine)])
    printed = capsys.readouterr().out
    assert left.value.code == 1 and f"{path}: DAMAGED" in printed and "2 found, 1 damaged" in printed


def test_bundle_to_a_machine_that_does_not_know_the_card(zoo_command, mine, places, monkeypatch):
    assert "mine" in zoo_command("bundle", places / "b.tar", "mine", "--card", mine)
    monkeypatch.setenv("TLKERAS_HOME", str(places / "other"))
    assert str(places / "other" / "bundled" / "mine" / "mine.weights.h5") in zoo_command(
        "fetch", "--from-bundle", places / "b.tar"
    )
    assert "good" in zoo_command("verify")


def test_a_module_without_a_card(zoo_command, refusal, hub_module, places, monkeypatch):
    name = f"hub:{hub_module('counted')}"
    assert zoo_command("fetch", name) == f"{name}: {hub_module('counted')}\n"
    shown = json.loads(zoo_command("show", name, "--json"))
    assert (shown["name"], shown["parameters"]) == ("counted", 18)
    assert "b.tar: counted, " in zoo_command("bundle", places / "b.tar", name)
    monkeypatch.setenv("TLKERAS_HOME", str(places / "other"))
    assert str(places / "other" / "modules") in zoo_command("fetch", "--from-bundle", places / "b.tar")
    assert backbones.load(zoo.card("counted"), image_size=32).card.parameters == 18
    address = "hub:https://127.0.0.1:9/model"
    assert f"`tlkeras zoo fetch {address}`" in refusal("zoo", "show", address)
    assert "could not be fetched" in refusal("zoo", "fetch", address)
    assert "gs:// is not supported" in refusal("zoo", "bundle", places / "c.tar", "hub:gs://bucket/model")


def test_mistakes(refusal, places):
    assert "Did you mean 'resnet50'" in refusal("zoo", "fetch", "resnet51")
    assert "nothing named" in refusal("zoo", "fetch")
    assert "there is no archive" in refusal("zoo", "fetch", "--from-bundle", places / "none.tar")
    assert "none.toml" in refusal("zoo", "list", "--card", places / "none.toml")


def test_a_full_disk_where_there_is_no_run():
    if not Path("/dev/full").exists():
        pytest.skip("needs the device /dev/full")
    program = "from tlkeras.cli import main; main(['zoo', 'list', '--json'])"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode != 0
    assert done.stderr.splitlines()[0].endswith("no space left on the device; make room and try again")


def test_import_without_any_network(zoo_command, mine, places, monkeypatch):
    if not shutil.which("unshare") or subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode:
        pytest.skip("needs the right to make a network namespace (unshare -n)")
    zoo_command("bundle", places / "b.tar", "mine", "--card", mine)
    monkeypatch.setenv("TLKERAS_HOME", str(places / "other"))
    program = "from tlkeras.cli import main; main()"
    command = ["unshare", "-n", sys.executable, "-c", program, "zoo", "fetch", "--from-bundle", places / "b.tar"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "mine.weights.h5" in done.stdout, done.stderr


class Evil:
    """Unpickled, it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pth_that_holds_code(refusal, places, photo_folder):
    (places / "evil.pth").write_bytes(pickle.dumps(Evil(places / "made"), 2))
    said = refusal("train", photo_folder, "--output", places / "run", "--weights", places / "evil.pth")
    assert "evil.pth refused: it asks for" in said and ".open" in said
    assert not (places / "made").exists() and not (places / "run" / "model.keras").exists()


def test_train_with_a_card_of_ones_own(places, photo_folder, refusal, capsys):
    card = '[[variant]]\nname = "small"\nextends = "efficientnet_lite0"\ninput_size = 32\n'
    (places / "small.toml").write_text(card)
    arguments = ["train", str(photo_folder), "--dry-run", "--backbone", "small"]
    assert "unknown backbone" in refusal(*arguments)
    main([*arguments, "--card", str(places / "small.toml")])
    printed = capsys.readouterr().out
    assert "image_size = 32" in printed and f'card = "{places}/small.toml"' in printed
