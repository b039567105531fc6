import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from helpers import CLASSES

from tlkeras import pictures, report
from tlkeras.data.dataset import Data, Example, Excluded
from tlkeras.evaluate import judge

HISTORY = {"accuracy": [0.5, 0.7], "val_accuracy": [0.4, 0.6], "loss": [1.0, 0.6], "val_loss": [1.1, 0.9]}


def make_data(photos, classes=CLASSES, excluded=()) -> Data:
    test = [Example(path, path.name, label, "test") for path, label in zip(photos, classes, strict=False)]
    return Data("photos", photos[0].parent, list(classes), {"train": test, "val": [], "test": test}, list(excluded))


def judged_as(data: Data, taken_for: list[int]):
    examples = data.parts["test"]
    logits = 3 * np.eye(len(data.classes), dtype=np.float32)[taken_for]
    return judge(logits, np.arange(len(examples)), data.classes, [example.name for example in examples])


def write(path, data, taken_for, **changes) -> str:
    given = {
        "title": "a <b> & c",
        "spec": 'data = "<photos>"',
        "history": HISTORY,
        "evaluation": judged_as(data, taken_for),
    }
    report.write(path / "report.html", data=data, **{**given, **changes})
    return (path / "report.html").read_text("utf-8")


class Page(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.tags, self.links = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "srcset", "href", "data", "action")]


def test_the_page_needs_nothing_beside_it(photos, tmp_path):
    page = Page(write(tmp_path, make_data(photos), [1, *range(1, 7)], fine_tuning_from=2))
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert len(page.links) == 2 * 2 + 1
    assert all(re.match(r"data:image/(png|jpeg);base64,", link) for link in page.links)


def test_what_users_name_is_escaped(photos, tmp_path):
    classes = ["<script>alert(1)</script>", *CLASSES[1:]]
    data = make_data(photos, classes, [Excluded("<i>.jpg", "not an image")])
    text = write(tmp_path, data, [1, *range(1, 7)])
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    for escaped in ("a &lt;b&gt; &amp; c", "&lt;photos&gt;", "&lt;i&gt;.jpg"):
        assert escaped in text


def test_the_worst_mistakes_come_first(photos):
    data = make_data(photos)
    evaluation = judged_as(data, [1, 1, 2, 3, 4, 6, 6])
    evaluation.probabilities[5, 5] = 1e-6
    worst = report.worst_mistakes(evaluation, data.parts["test"])
    assert [(m.true, m.predicted, m.name) for m in worst] == [("fox", "gnu", "f.gif"), ("ant", "bee", "a.jpg")]
    assert report.worst_mistakes(evaluation, data.parts["test"], limit=1) == worst[:1]


def test_no_mistakes_one_epoch_and_nothing_left_out(photos, tmp_path):
    history = {name: values[:1] for name, values in HISTORY.items()}
    text = write(tmp_path, make_data(photos), list(range(7)), history=history)
    assert "every test image was classified as what it is" in text
    assert "No file was left out" in text


def test_a_picture_that_is_gone_leaves_a_gap(photos, tmp_path):
    assert pictures.thumbnail(tmp_path / "gone.jpg") is None
    assert "no longer there" in write(tmp_path, make_data([tmp_path / "gone.jpg", *photos[1:]]), [1, *range(1, 7)])


def test_mistakes_among_texts_are_shown_as_text(photos, tmp_path):
    data = make_data(photos)
    texts = ["<b>so good</b> " + "and on " * 99, *"bcdefg"]
    examples = [replace(e, text=text) for e, text in zip(data.parts["test"], texts, strict=True)]
    data = replace(data, task="text", parts={**data.parts, "test": examples})
    text = write(tmp_path, data, [1, *range(1, 7)])
    assert "<blockquote>&lt;b&gt;so good&lt;/b&gt; and on" in text and re.search("and.*…</blockquote>", text)
    assert "1 of 7 test texts" in text and "data:image/jpeg" not in text and "images" not in text


def test_many_classes_of_any_name_make_a_picture(photos, tmp_path):
    classes = [f"类 {i}" for i in range(30)]
    text = write(tmp_path, make_data(photos, classes), [1, *range(1, 7)])
    assert "classes are numbered from 0" in text
    assert '<table class="confusion">' not in text


@pytest.mark.parametrize("missing", ["val_accuracy", "loss"])
def test_a_history_may_lack_figures(photos, tmp_path, missing):
    history = {name: values for name, values in HISTORY.items() if name != missing}
    assert "Learning curves" in write(tmp_path, make_data(photos), list(range(7)), history=history)
