"""What is wrong with a file is said before training, in words, and remembered."""

import hashlib
import os
import re
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tlkeras.data.check import check


@pytest.fixture
def reason_against(tmp_path):
    def reason(content):
        path = tmp_path / hashlib.sha256(content).hexdigest()
        path.write_bytes(content)
        return check([path], tmp_path)[0].reason

    return reason


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 100)
        + b"IDAT"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "zero bytes"),
        (b"just a text\n", "not an image"),
        (b"BM is how this text begins, and on it goes for a while", "not an image"),
        (b"PK\x03\x04" + bytes(40), "not an image"),
        (b"\xff\xd8\xff\xe0", "truncated JPEG"),
        (b"II*\x00" + bytes(40), "TIFF is not among .* JPEG, PNG, GIF, BMP: convert it to JPEG or PNG"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(40), "HEIC is not among"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "WebP is not among"),
        (b"<?xml version='1.0'?><svg></svg>", "SVG is not among"),
        (png_header(100_000, 100_000), "absurd dimensions, 100000 x 100000"),
        (png_header(5000, 10), "absurd dimensions, 5000 x 10"),
        (png_header(10, 10), "truncated PNG"),
    ],
)
def test_reason(content, reason, reason_against):
    assert re.search(reason, reason_against(content))


def test_truncated_files_are_called_so(picture, encoded, reason_against):
    for kind in ("JPEG", "PNG"):
        content = encoded(picture(), kind)
        assert reason_against(content[: len(content) // 2]) == f"truncated {kind}"


def test_damaged_pixels_are_found(picture, encoded, reason_against):
    content = bytearray(encoded(picture(), "PNG"))
    content[len(content) // 2] ^= 255
    assert reason_against(bytes(content)).startswith(("damaged PNG", "truncated PNG"))


@pytest.mark.parametrize("mode", ["1", "P"])
def test_bmp_that_tensorflow_misreads_is_left_out(mode, picture, encoded, reason_against):
    assert "BMP with a palette" in reason_against(encoded(picture().convert(mode), "BMP"))


def test_good_files_pass(picture, encoded, reason_against):
    grey16 = Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30))
    good = [encoded(picture(), kind) for kind in ("JPEG", "PNG", "GIF", "BMP")]
    good += [encoded(picture().convert("CMYK")), encoded(grey16, "PNG"), encoded(picture().convert("RGBA"), "PNG")]
    assert [reason_against(content) for content in good] == [""] * len(good)


def test_large_photos_pass_without_a_warning(reason_against):
    assert "absurd" not in reason_against(png_header(8000, 8000))


def test_hashes_and_reasons_stand_in_the_order_of_the_files(make_images, tmp_path):
    folder = make_images({"a": 3}) / "a"
    (folder / "001.png").write_bytes(b"")
    first, empty, last = check(sorted(folder.iterdir()), tmp_path)
    assert empty.sha256 == "" and "zero bytes" in empty.reason
    assert len({first.sha256, last.sha256}) == 2 and first.reason == last.reason == ""


def test_links_folders_and_pipes(tmp_path, make_images):
    good = make_images({"a": 1}) / "a" / "000.png"
    (tmp_path / "link").symlink_to(good)
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    names = ["link", "broken", "loop", "pipe", "images", "absent", "nul\0"]
    reasons = [outcome.reason for outcome in check([tmp_path / name for name in names], tmp_path)]
    assert reasons == [
        "",
        "a broken link",
        "a broken link",
        "not a regular file",
        "not a file",
        "cannot be read: no such file or directory",
        "not a path",
    ]


def test_forbidden_file_is_looked_at_again(tmp_path, make_images):
    file = make_images({"a": 1}) / "a" / "000.png"
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("this user, as root does, may read files that nobody may read")
    assert "permission" in check([file], tmp_path)[0].reason
    file.chmod(0o600)
    assert check([file], tmp_path)[0].reason == ""


def test_progress_ends_with_all(make_images, tmp_path):
    seen = []
    check(sorted((make_images({"a": 20}) / "a").iterdir()), tmp_path, lambda *step: seen.append(step))
    assert seen == [(16, 20), (20, 20)]


def test_outcomes_keep_the_order_of_many_files(make_images, tmp_path):
    files = sorted((make_images({"a": 2}) / "a").iterdir())
    outcomes = check(files * 50, tmp_path)
    assert outcomes == outcomes[:2] * 50


def remembered(own_cache):
    (file,) = (own_cache / "checks").iterdir()
    return file


def test_second_check_reads_no_file(make_images, own_cache, tmp_path):
    files = sorted((make_images({"a": 3}) / "a").iterdir())
    before = check(files, tmp_path)
    memory = remembered(own_cache)
    memory.write_text(memory.read_text().replace(before[1].sha256, "0" * 64))
    assert check(files, tmp_path)[1].sha256 == "0" * 64


def test_changed_file_is_checked_again(make_images, tmp_path):
    first, second = sorted((make_images({"a": 2}) / "a").iterdir())
    before = check([first], tmp_path)
    shutil.copy(second, first)
    os.utime(first, ns=(0, 1))
    assert check([first], tmp_path) == check([second], tmp_path) != before


@pytest.mark.parametrize("damage", [b"\xff\x00garbage", b'"', b"a,b\n", b'"x","1","1","short",""\n'])
def test_damaged_memory_is_done_without(damage, make_images, own_cache, tmp_path):
    files = sorted((make_images({"a": 2}) / "a").iterdir())
    before = check(files, tmp_path)
    remembered(own_cache).write_bytes(damage)
    assert check(files, tmp_path) == before == check(files, tmp_path)


def test_cache_that_cannot_be_written_is_done_without(make_images, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TLKERAS_HOME", str(tmp_path / "file"))
    assert check(sorted((make_images({"a": 2}) / "a").iterdir()), tmp_path)[0].reason == ""


def test_small_files_are_judged_each_for_itself(make_images, tmp_path):
    folder = make_images({"a": 20}) / "a"
    paths = sorted(folder.iterdir())
    paths[3].write_bytes(paths[3].read_bytes()[:-40])
    outcomes = check(paths, tmp_path)
    assert [i for i, outcome in enumerate(outcomes) if outcome.reason] == [3]
    assert outcomes[3].reason == "truncated PNG"
    assert [outcome.sha256 for outcome in outcomes] == [
        "" if i == 3 else hashlib.sha256(path.read_bytes()).hexdigest() for i, path in enumerate(paths)
    ]
