"""Good archives come out as they went in; bad ones leave nothing at all."""

import gzip
import io
import stat
import struct
import tarfile
import zipfile

import pytest

from tlkeras.archives import extract, read_member
from tlkeras.errors import TlkerasError

FILES = {"saved_model.pb": b"graph", "variables/variables.index": b"index", "empty": b""}
MEBIBYTE = 2**20


def tar_member(name, content=b"", **attributes):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in attributes.items():
        setattr(member, key, value)
    return member, content


def write_tar(path, *members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    return path


def write_zip(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def good(folder, suffix):
    if suffix == ".zip":
        return write_zip(folder / "good.zip", *FILES.items())
    members = [tar_member("./", type=tarfile.DIRTYPE), *(tar_member(f"./{name}", FILES[name]) for name in FILES)]
    return write_tar(folder / f"good{suffix}", *members, mode="w:gz" if "gz" in suffix else "w")


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(archive):
    """Extracts into a folder `out` beside the archive, and gives the error after a look that nothing was left."""
    before = sorted(archive.parent.iterdir())
    with pytest.raises(TlkerasError) as error:
        extract(archive, archive.parent / "out")
    assert sorted(archive.parent.iterdir()) == before
    assert str(archive) in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".zip"])
def test_files_come_out_as_they_went_in(tmp_path, suffix):
    extract(good(tmp_path, suffix), tmp_path / "new" / "out")
    assert contents(tmp_path / "new" / "out") == FILES
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_permissions_are_plain(tmp_path):
    extract(write_tar(tmp_path / "a.tar", tar_member("tool", b"x", mode=0o6777)), tmp_path / "out")
    assert not stat.S_IMODE((tmp_path / "out" / "tool").stat().st_mode) & 0o7111


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    extract(good(tmp_path, ".tar"), tmp_path / "out")
    with pytest.raises(TlkerasError, match="exists already"):
        extract(good(tmp_path, ".tar"), tmp_path / "out")
    assert contents(tmp_path / "out") == FILES


BAD_NAMES = ["../a", "a/../../b", "..", "/a", "//a", "C:\\a", "c:a", "\\a", "a\\..\\b", "x" * 1001]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_lead_elsewhere(tmp_path, name):
    for archive in (
        write_tar(tmp_path / "a.tar", tar_member("good", b"x"), tar_member(name, b"x")),
        write_zip(tmp_path / "a.zip", ("good", b"x"), (name, b"x")),
    ):
        assert f"member {name[:40]!r}"[:-1] in refusal(archive)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "link"),
        (tarfile.LNKTYPE, "link"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.BLKTYPE, "device"),
        (tarfile.FIFOTYPE, "device"),
        (b"Z", "thing of unknown kind"),
    ],
)
def test_links_and_devices(tmp_path, kind, word):
    member = tar_member("bad", type=kind, linkname="/etc/passwd")
    assert f"member 'bad' is a {word}" in refusal(write_tar(tmp_path / "a.tar", member))


@pytest.mark.parametrize(("mode", "word"), [(stat.S_IFLNK, "link"), (stat.S_IFCHR, "device"), (stat.S_IFIFO, "device")])
def test_links_and_devices_in_a_zip(tmp_path, mode, word):
    item = zipfile.ZipInfo("bad")
    item.external_attr = (mode | 0o777) << 16
    assert f"member 'bad' is a {word}" in refusal(write_zip(tmp_path / "a.zip", (item, "/etc/passwd")))


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TlkerasError, match=f"{tmp_path}/file is a file where a folder should be"):
        extract(good(tmp_path, ".tar"), tmp_path / "file" / "out")


def test_names_given_twice(tmp_path):
    assert "member './a' is there twice" in refusal(
        write_tar(tmp_path / "a.tar", tar_member("a", b"1"), tar_member("./a", b"2"))
    )
    assert "member 'a/b' needs a folder where another is a file" in refusal(
        write_tar(tmp_path / "a.tar", tar_member("a", b"1"), tar_member("a/b", b"2"))
    )
    with pytest.warns(UserWarning, match="Duplicate name"):
        write_zip(tmp_path / "a.zip", ("a", b"1"), ("a", b"2"))
    assert "member 'a' is there twice" in refusal(tmp_path / "a.zip")


def test_bombs(tmp_path):
    zeros = bytes(40 * MEBIBYTE)
    assert "'zeros' unpacks to absurdly many bytes: 16,777,216 at most" in refusal(
        write_zip(tmp_path / "a.zip", ("zeros", zeros))
    )
    assert "absurdly many bytes: 16,777,216 at most" in refusal(
        write_tar(tmp_path / "a.tar.gz", tar_member("zeros", zeros), mode="w:gz")
    )


def test_one_member_alone(tmp_path):
    assert read_member(write_zip(tmp_path / "a.zip", ("a", b"1"), ("b", b"2")), "b") == b"2"
    with pytest.raises(TlkerasError, match="member 'zeros' unpacks to absurdly"):
        read_member(write_zip(tmp_path / "b.zip", ("zeros", bytes(40 * MEBIBYTE))), "zeros")


def test_a_bomb_of_many_members(tmp_path):
    members = [tar_member(f"{number}") for number in range(20_001)]
    assert "more than 20,000 members" in refusal(write_tar(tmp_path / "a.tar", *members))


def test_a_zip_that_lies_about_its_sizes(tmp_path):
    whole = write_zip(tmp_path / "a.zip", ("zeros", bytes(40 * MEBIBYTE))).read_bytes()
    size = struct.pack("<L", 40 * MEBIBYTE)
    for claimed in (10, 2**31):
        (tmp_path / "a.zip").write_bytes(whole.replace(size, struct.pack("<L", claimed)))
        assert "member 'zeros'" in refusal(tmp_path / "a.zip")


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("claimed", [2**40, -512])
def test_a_tar_that_lies_about_its_sizes(tmp_path, kind, claimed):
    header = tar_member("a", type=kind)[0]
    header.size = claimed
    (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    assert "refused" in refusal(tmp_path / "a.tar") or "damaged" in refusal(tmp_path / "a.tar")


def test_headers_without_end(tmp_path):
    header = tar_member("a", type=tarfile.GNUTYPE_LONGNAME)[0].tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tar").write_bytes(header * 5000)
    assert "damaged" in refusal(tmp_path / "a.tar")


def test_other_ways_of_packing(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", "content")
    assert "member 'a' is encrypted or packed otherwise" in refusal(tmp_path / "a.zip")


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".zip"])
def test_archives_cut_short(tmp_path, suffix):
    path = good(tmp_path, suffix)
    whole = path.read_bytes()
    # The end mark of a tar is two blocks of zeros; what follows them is padding.
    end = 4 * 512 + 3 * 512 if suffix == ".tar" else len(whole)
    for length in range(0, end, 100 if suffix == ".tar" else 7):
        path.write_bytes(whole[:length])
        refusal(path)


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_archives_with_a_changed_byte(tmp_path, suffix):
    content = bytes(range(256)) * 8
    path = tmp_path / f"a{suffix}"
    if suffix == ".zip":
        write_zip(path, ("a", content))
    else:
        write_tar(path, tar_member("a", content), mode="w:gz")
    whole = path.read_bytes()
    middle = len(whole) // 3
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    refusal(path)


# With the same time in it, so that processes that share the tests agree on their names.
GZIP = gzip.compress(b"no archive", mtime=0)


@pytest.mark.parametrize("content", [b"", b"no archive", GZIP, b"PK\x03\x04 no archive"])
def test_something_else(tmp_path, content):
    (tmp_path / "a.tar").write_bytes(content)
    assert "is damaged, or no .tar" in refusal(tmp_path / "a.tar")


def test_a_missing_archive(tmp_path):
    assert "there is no archive" in refusal(tmp_path / "a.tar")
