"""Bundles from one machine to another, the other being another cache; and bundles that lie."""

import hashlib
import io
import json
import tarfile
from dataclasses import replace

import pytest

from tlkeras import bundles, card_files, checksums, consoles, modules, unbundle, weights, zoo
from tlkeras.errors import TlkerasError

CONTENT = b"\x89HDF\r\n\x1a\n the weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HANDLE = "https://modules.example/encoder/1"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Moves to a machine with nothing on it but a zoo that the name says; gives a function that does so."""

    def move(name):
        for variable, folder in (("TLKERAS_HOME", "cache"), ("KERAS_HOME", "keras"), ("TLKERAS_ZOO", "zoo")):
            (tmp_path / name / folder).mkdir(parents=True, exist_ok=True)
            monkeypatch.setenv(variable, str(tmp_path / name / folder))
        return tmp_path / name

    return move


def card(name, **changes):
    return replace(zoo.card("efficientnet_lite0"), **{"name": name, "sha256": SHA256, **changes})


def put(path, content=CONTENT):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture
def made(machine):
    """A bundle of one card of each kind, made on one machine, and the cards; we stand on another afterwards."""
    first = machine("first")
    module = first / "module"
    put(module / "saved_model.pb", b"graph")
    put(module / "variables" / "variables.index", b"index")
    put(first / "zoo" / "mine.weights.h5")
    md5 = hashlib.md5(CONTENT).hexdigest()
    cards = [
        card("wheel", source="pypi:wheel==1"),
        card("keras", source="keras:ResNet50", sha256=None, md5=md5, url="https://a.example/keras.h5"),
        card("file", source=f"file:{first / 'zoo' / 'mine.weights.h5'}", sha256=None),
        card("remote", source=f"hub:{HANDLE}", sha256=None),
        card("local", source=f"hub:{module}", sha256=None, preprocessor=f"hub:{HANDLE}"),
    ]
    for one in cards[:2]:
        put(weights.cached_path(one))
    bundles.write(first / "b.tar", cards, lambda handle: module, consoles.make())
    machine("second")
    return first / "b.tar", cards


def test_everything_arrives(made):
    path, cards = made
    assert unbundle.load(path) == ["wheel", "keras", "file", "remote", "local"]
    for name in ("wheel", "keras", "file"):
        assert weights.fetch(zoo.card(name)).read_bytes() == CONTENT
    local = weights.cached_path(zoo.card("local"))
    assert local.parent == weights.cache_folder() / "modules"
    for folder in (modules.folder_of(HANDLE), local):
        assert set(checksums.of_folder(folder)) == {"saved_model.pb", "variables/variables.index"}
    for one in cards:
        assert replace(zoo.card(one.name), source=one.source, sha256=one.sha256) == one
    assert [item.wrong for item in weights.verify(zoo.cards().values())] == [""] * 5


def test_importing_twice_changes_nothing(made):
    path, _ = made
    unbundle.load(path)
    before = checksums.of_folder(weights.cache_folder())
    unbundle.load(path)
    assert checksums.of_folder(weights.cache_folder()) == before
    assert not [name for name in before if "unfinished" in name]


def test_the_same_gives_the_same_bytes(made, machine):
    path, cards = made
    machine("first")
    bundles.write(path.with_name("c.tar"), cards, lambda handle: path.parent / "module", consoles.make())
    assert path.with_name("c.tar").read_bytes() == path.read_bytes()


def test_a_damaged_file_is_mended(made):
    path, _ = made
    unbundle.load(path)
    for name in ("wheel", "keras"):
        put(weights.cached_path(zoo.card(name)), b"damaged")
    unbundle.load(path)
    assert [item.wrong for item in weights.verify(zoo.cards().values())] == [""] * 5


@pytest.mark.parametrize("name", ["file", "remote"])
def test_what_is_the_users_is_not_written_over(made, name):
    path, _ = made
    unbundle.load(path)
    there = weights.cached_path(zoo.card(name))
    there = there / "saved_model.pb" if there.is_dir() else there
    put(there, b"others")
    with pytest.raises(TlkerasError, match="is there already and is another"):
        unbundle.load(path)
    assert there.read_bytes() == b"others"
    wrong = [item.path for item in weights.verify(zoo.cards().values()) if item.wrong]
    assert wrong == [there if name == "file" else there.parent]


def test_another_card_of_that_name(made):
    path, cards = made
    values = {**cards[0].to_dict(), "features": 5}
    put(path.parents[1] / "second" / "zoo" / "mine.toml", card_files.to_toml(values).encode())
    refused(path, "its card 'wheel' is another than the one here: they differ in features")


def refused(path, message):
    before = checksums.of_folder(weights.cache_folder())
    with pytest.raises(TlkerasError, match=message) as error:
        unbundle.load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert checksums.of_folder(weights.cache_folder()) == before
    assert not list(weights.cache_folder().glob(".unfinished*"))


def rewrite(path, change, extra=()):
    """Writes a bundle again with a changed manifest, and with more files."""
    with tarfile.open(path) as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive}
    manifest = json.loads(members["manifest.json"])
    change(manifest)
    members["manifest.json"] = json.dumps(manifest).encode()
    with tarfile.open(path, "w") as archive:
        for name, content in {**members, **dict(extra)}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def nothing(manifest):
    pass


def forged(manifest):
    """Says of other weights of the wheel what is true of them, so that only the card can tell."""
    manifest["files"]["weights/wheel/forged"] = {"size": 6, "sha256": hashlib.sha256(b"forged").hexdigest()}


LIES = {
    "format": (lambda m: m.update(format=2), "its format is 2"),
    "no cards": (lambda m: m.pop("cards"), "manifest.json is damaged"),
    "no list": (lambda m: m.update(cards=5), "manifest.json is damaged: it is none that"),
    "files": (lambda m: m["files"].update(x=5), "manifest.json is damaged: it is none that"),
    "sizes": (lambda m: m["files"]["weights/keras/keras.h5"].update(size=5), "'weights/keras/keras.h5' is not what"),
    "hashes": (lambda m: m["files"]["weights/keras/keras.h5"].update(sha256="0" * 64), "is not what its manifest"),
    "missing": (lambda m: m["files"].update(x={"size": 1, "sha256": "0" * 64}), "'x' is not what its manifest.json"),
    "path": (
        lambda m: m["cards"][2].update(source="file:/etc/passwd"),
        "a file outside of it: 'file:/etc/passwd'",
    ),
    "module": (lambda m: m["cards"][4].update(source="hub:/etc"), "names a module outside of it: '/etc'"),
    "other": (lambda m: m["cards"][3].update(source="hub:https://b.example/2"), "it lacks 'modules/"),
    "hash": (lambda m: m["cards"][0].update(sha256="0" * 64), "not those on the card of 'wheel'"),
    "name": (lambda m: m["cards"][0].update(name="../../x"), "'name'"),
    "code": (lambda m: m["cards"][0].update(builder="os.system"), "unknown key"),
    "place": (lambda m: m["cards"].append({**m["cards"][1], "name": "also"}), "has 0 files of weights of 'also'"),
    "twice": (lambda m: m["cards"].append(m["cards"][0]), "two cards of one name"),
    "idle": (lambda m: m["cards"].pop(0), "no card in it has a use for 'weights/wheel"),
    "known": (lambda m: m["cards"][0].update(name="efficientnet_lite0"), "is another than the one here"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_manifest_that_lies(made, lie):
    change, message = LIES[lie]
    rewrite(made[0], change)
    refused(made[0], message)


@pytest.mark.parametrize(
    ("name", "message"), [("more", "'more' is not what"), ("../more", "leads out"), ("weights/wheel/b", "is not what")]
)
def test_files_that_the_manifest_does_not_list(made, name, message):
    rewrite(made[0], nothing, {name: b"x"}.items())
    refused(made[0], message)


def test_two_files_of_weights_for_one_card(made):
    rewrite(made[0], forged, {"weights/wheel/forged": b"forged"}.items())
    refused(made[0], "it has 2 files of weights of 'wheel'")


def test_weights_of_another_network_of_keras_are_not_written_over(made):
    path, cards = made
    put(weights.cached_path(cards[1]), b"of another network")
    refused(path, "is there already and is another")


def test_a_file_where_a_folder_should_be(made):
    put(modules.kept(), b"")
    with pytest.raises(TlkerasError, match="modules is a file where a folder should be"):
        unbundle.load(made[0])


def test_a_bundle_without_cards(made):
    rewrite(made[0], lambda manifest: manifest.update(cards=[], files={}))
    refused(made[0], "it has no cards")


def test_an_absurdly_large_manifest_is_not_unpacked(made):
    with tarfile.open(made[0], "w") as archive:
        member = tarfile.TarInfo("manifest.json")
        member.size = 2**24 + 1
        archive.addfile(member, io.BytesIO(bytes(member.size)))
    refused(made[0], "'manifest.json' unpacks to absurdly many bytes: 16,777,216 at most")


def test_a_mistake_in_the_zoo_is_not_blamed_on_the_bundle(made, monkeypatch):
    monkeypatch.setenv("TLKERAS_ZOO", str(made[0]))
    with pytest.raises(TlkerasError) as error:
        unbundle.load(made[0])
    assert "refused" not in str(error.value) and "TLKERAS_ZOO" in str(error.value)


def test_a_zoo_that_is_not_there_yet_hinders_no_import(made, monkeypatch):
    monkeypatch.setenv("TLKERAS_ZOO", str(made[0].with_name("later")))
    assert "wheel" in unbundle.load(made[0])


def test_no_bundle(made):
    path, _ = made
    with tarfile.open(path, "w"):
        pass
    refused(path, "has no manifest.json")


def test_a_bundle_cut_short(made):
    path, _ = made
    path.write_bytes(path.read_bytes()[:-12_000])
    refused(path, "damaged")


def test_a_bundle_that_cannot_be_written_leaves_nothing(made, machine):
    path, cards = made
    machine("third")
    with pytest.raises(TlkerasError, match="wheel"):
        bundles.write(path.with_name("c.tar"), cards, lambda handle: path, consoles.make())
    assert not path.with_name("c.tar").exists()
