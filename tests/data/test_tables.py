"""Rows of CSV and TSV files become labelled texts; what is wrong with a row or a table is one clear line."""

import csv

import pytest

from tlkeras.data import sources
from tlkeras.errors import TlkerasError


@pytest.fixture
def table(tmp_path):
    def write(content: str | bytes, kind: str = "csv"):
        file = tmp_path / f"t.{kind}"
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return f"{kind}:{file}"

    return write


def found(source, **options):
    return sources.find(source, "text", **options)


def rows(source, **options):
    return [(e.name, e.label, e.text) for e in found(source, **options).examples]


def test_csv_by_the_names_of_its_columns(table):
    source = table('id,sentence,y\n1,"good, ""very""",pos\n2,bad,neg\n')
    assert rows(source, text_column="sentence", label_column="y") == [
        ("t.csv:2", "pos", 'good, "very"'),
        ("t.csv:3", "neg", "bad"),
    ]


def test_tsv_knows_no_quotes_and_numbers_mean_no_header(table):
    source = table('"a" film\t1\n"unclosed\t0\n', "tsv")
    assert rows(source, text_column="1", label_column="2") == [
        ("t.tsv:1", "1", '"a" film'),
        ("t.tsv:2", "0", '"unclosed'),
    ]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_byte_order_mark_ends_of_lines_and_breaks_in_quotes(table, ends):
    content = "text,label\n\none,a\n'two\nlines',b\nthree,a\n".replace("'", '"').replace("\n", ends)
    source = table(b"\xef\xbb\xbf" + content.encode())
    assert [row[:2] for row in rows(source)] == [("t.csv:3", "a"), ("t.csv:4", "b"), ("t.csv:6", "a")]


def test_a_column_part_is_kept(table):
    assert [e.part for e in found(table("text,label,part\na,x,train\nb,x,test\nc,y,\n")).examples] == [
        "train",
        "test",
        None,
    ]


def test_rows_that_cannot_be_used_are_left_out_with_their_reason(table):
    source = found(table(b"text,label\nfine,a\nshort\nno label, \nodd,\xff\nalso fine,b\n"))
    assert {e.name: e.reason for e in source.excluded} == {
        "t.csv:3": "too few columns: 1",
        "t.csv:4": "no label",
        "t.csv:5": "the label is no UTF-8",
    }
    assert len(source.examples) == 2


def test_a_cell_may_be_long_and_the_limit_of_others_stays(table):
    before = csv.field_size_limit()
    assert len(rows(table(f"text,label\n{'x' * 300_000},a\n"))[0][2]) == 300_000
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", {}, "is empty"),
        ("text,label\n", {}, "no rows with a text and a label"),
        ("text,label\nalone\n", {}, r"no rows .* the first, t.csv:2: too few columns"),
        ("sentence,label\na,b\n", {}, r"no column 'text'; .*--text-column .*first line: 'sentence', 'label'"),
        ("a,b\n", {"text_column": "1"}, "both as numbers"),
        ("a,b\n", {"text_column": "1", "label_column": "3"}, "has 2 columns, counted from 1"),
        ("a,b\n", {"text_column": "0", "label_column": "1"}, "has 2 columns, counted from 1"),
        ("text,label,text\na,b,c\n", {}, "two columns named 'text'"),
        ("text,label,part\na,b,dev\n", {}, "t.csv:2: the column part takes train, val, test"),
        ('text,label\n"unclosed,a\nb,c\n', {}, "line 2: cannot be read as a table"),
        ("text,label\na,b".encode("utf-16"), {}, "is no UTF-8 text"),
    ],
)
def test_a_table_that_is_wrong_is_refused(table, content, options, message):
    with pytest.raises(TlkerasError, match=message):
        found(table(content), **options)


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(TlkerasError, match="does not exist"):
        found(f"tsv:{tmp_path}/none.tsv")
    with pytest.raises(TlkerasError, match="is a folder"):
        found(f"csv:{tmp_path}")


def test_sources_of_the_other_task_are_refused(table):
    with pytest.raises(TlkerasError, match="digits holds no texts, which the backbone takes: choose an image backbone"):
        found("digits")
    with pytest.raises(TlkerasError, match="holds no images, which the backbone takes: choose a text backbone"):
        sources.find(table("a\t1\n", "tsv"))
    with pytest.raises(TlkerasError, match="no column 'path' of images, but one of texts, 'text'"):
        sources.find(table("text,label\na,b\n"), text_column="text")
