"""A split is the same for a seed wherever it is made, and no picture is in two parts of it."""

import random
from collections import Counter
from pathlib import Path

import pytest

from tlkeras.data.dataset import Example
from tlkeras.data.split import assign, too_small, without_copies
from tlkeras.errors import TlkerasError

FRACTIONS = (0.7, 0.15, 0.15)


def examples(counts: dict[str, int], part: str | None = None) -> list[Example]:
    return [
        Example(Path(label, str(i)), f"{part}/{label}/{i}", label, part, f"{part}{label}{i}")
        for label, count in counts.items()
        for i in range(count)
    ]


def parts(assigned) -> Counter:
    return Counter((example.part, example.label) for example in assigned)


def test_split_is_stratified():
    assert parts(assign(examples({"a": 100, "b": 20}), FRACTIONS, 0)) == {
        ("train", "a"): 70,
        ("val", "a"): 15,
        ("test", "a"): 15,
        ("train", "b"): 14,
        ("val", "b"): 3,
        ("test", "b"): 3,
    }


@pytest.mark.parametrize("fractions", [FRACTIONS, (0.1, 0.45, 0.45), (0.98, 0.01, 0.01), (0.01, 0.01, 0.98)])
@pytest.mark.parametrize("count", range(3, 12))
def test_every_class_is_in_every_part(fractions, count):
    assigned = assign(examples({"a": count}), fractions, 0)
    assert {example.part for example in assigned} == {"train", "val", "test"}
    assert len(assigned) == count


def test_split_does_not_depend_on_the_order_of_the_files():
    listed = examples({"a": 30, "b": 9})
    expected = assign(listed, FRACTIONS, 1)
    random.Random(0).shuffle(listed)
    assert assign(listed, FRACTIONS, 1) == expected


def test_split_is_the_same_on_every_machine():
    assigned = assign(examples({"a": 6}), FRACTIONS, 0)
    assert [example.name for example in assigned if example.part != "train"] == ["None/a/0", "None/a/4"]


def test_another_seed_gives_another_split():
    listed = examples({"a": 30})
    assert assign(listed, FRACTIONS, 0) != assign(listed, FRACTIONS, 1)


@pytest.mark.parametrize("given", ["val", "test"])
def test_missing_part_is_cut_from_train_only(given):
    came = examples({"a": 20}, "train") + examples({"a": 8}, given)
    assigned = assign(came, FRACTIONS, 0)
    assert {e.name for e in assigned if e.part == given} == {e.name for e in came if e.part == given}
    assert sorted(parts(assigned).values()) == [3, 8, 17]


def test_parts_that_are_all_there_stay():
    came = [e for part in ("train", "val", "test") for e in examples({"a": 2}, part)]
    assert assign(came, FRACTIONS, 0) == sorted(came, key=lambda example: example.name)


@pytest.mark.parametrize("fractions", [(0.8, 0.2), (0.8, 0.2, 0.0), (0.5, 0.2, 0.2), (1.2, -0.1, -0.1)])
def test_illegal_fractions(fractions):
    with pytest.raises(TlkerasError, match=r"three shares above 0 with a sum of 1. Received"):
        assign(examples({"a": 10}), fractions, 0)


def test_too_small_classes():
    assert list(too_small(examples({"a": 3, "b": 2}))) == ["b"]
    came = examples({"a": 2, "b": 1}, "train") + examples({"a": 1, "b": 1}, "test")
    assert too_small(came) == {"b": "class 'b' has 1 usable images to divide; 2 or more are needed"}


def same(*named: tuple[str, str, str | None]) -> list[Example]:
    return [Example(Path(name), name, label, part, "same") for name, label, part in named]


@pytest.mark.parametrize(
    ("copies", "kept"),
    [
        ([("b", "x", None), ("a", "x", None)], "a"),
        ([("a", "x", "train"), ("b", "x", "test"), ("c", "x", "val")], "b"),
        ([("a", "x", "train"), ("b", "x", "val")], "b"),
    ],
)
def test_same_picture_is_kept_once(copies, kept):
    left, excluded = without_copies(same(*copies))
    assert [example.name for example in left] == [kept]
    assert {gone.reason for gone in excluded} == {f"the same picture as {kept}"}
    assert len(excluded) == len(copies) - 1


def test_same_picture_under_two_labels_is_left_out():
    left, excluded = without_copies([*same(("a", "x", None), ("b", "y", None)), *examples({"a": 1})])
    assert [example.name for example in left] == ["None/a/0"]
    assert [gone.reason for gone in excluded] == ["the same picture is labelled x and y"] * 2
