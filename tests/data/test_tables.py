"""Arrays and tables of the user's own: which columns are points, which are refused, and why."""

import csv
import gzip
import io
import json
import shlex

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from otgan import experiments
from otgan.assembly import check_data
from otgan.config import UserData
from otgan.data import examples, load, own
from otgan.errors import UserError
from otgan.plain import comma_separated
from tests.support.commands import otgan

POINTS = np.random.default_rng(0).normal(size=(200, 3))
KINDS = np.where(POINTS[:, 2] > 0, "up", "down")


def read(path, **wanted):
    return own.read(UserData(path=str(path), **wanted))


def text(rows, head=("a", "b", "c"), separator=","):
    lines = io.StringIO()
    writer = csv.writer(lines, delimiter=separator)
    writer.writerows([*([head] if head else []), *rows])
    return lines.getvalue()


@pytest.fixture
def write(tmp_path):
    def written(content, name="x.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


# --- what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "separator"), [("x.csv", ","), ("x.csv", ";"), ("x.tsv", "\t"), ("X.CSV", ",")]
)
def test_numbers_of_a_text_are_points_with_names(write, name, separator):
    found = read(write(text(POINTS, separator=separator), name))
    np.testing.assert_array_equal(found.values, POINTS.astype(np.float32))
    assert found.columns == ("a", "b", "c")
    assert found.notes == (f"{name}: 200 rows of the columns a, b, c",)


def marked(rows, head=("a", "b", "c"), separator=";", form="{:.3f}"):
    """With decimal commas."""
    words = [[form.format(x).replace(".", ",") for x in row] for row in rows]
    return text(words, head, separator)


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("head", [("a", "b", "c"), ("a, cm", "b, cm", "c, of it, cm"), None])
@pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
@pytest.mark.parametrize("form", ["{:.3f}", "{:g}", "{:.2e}"])
def test_decimal_commas_are_told_of_and_read(write, separator, head, name, form):
    rows = POINTS.copy()
    rows[1::2] = np.round(rows[1::2])  # as whole numbers, where the form lets them be
    found = read(write(marked(rows, head, separator, form), name))
    expected = [[float(form.format(x)) for x in row] for row in rows]
    np.testing.assert_array_equal(found.values, np.asarray(expected, np.float32))
    assert found.columns == (head or ("0", "1", "2"))
    first = form.format(rows[0, 0])
    told = f"{name} has decimal commas: {first.replace('.', ',')} is read as {first}"
    assert told in found.notes


def test_decimal_commas_far_down_are_seen(write):
    rows = np.concatenate([np.arange(60_000).reshape(-1, 3), POINTS])
    found = read(write(marked(rows, form="{:g}")))
    expected = [[float(f"{x:g}") for x in row] for row in rows]
    np.testing.assert_array_equal(found.values, np.asarray(expected, np.float32))


@pytest.mark.parametrize(("name", "separator"), [("x.csv", "\t"), ("x.tsv", ";"), ("x.tsv", ",")])
def test_what_separates_values_is_seen_whatever_the_file_is_called(write, name, separator):
    for head in (("a", "b", "c"), None):
        found = read(write(text(POINTS, head, separator), name))
        np.testing.assert_array_equal(found.values, POINTS.astype(np.float32))


def test_words_with_other_separators_separate_nothing(write):
    rows = [[*point[:2], "one; of, two\t"] for point in POINTS]
    for separator in ",;\t":
        path = write(text(rows, ("a", "b; of", "kind"), separator))
        found = read(path, columns=("a", "b; of"))
        np.testing.assert_array_equal(found.values, POINTS[:, :2].astype(np.float32))


DECIMALS = "write decimals with a point, and nothing between thousands"
BOTH = r"decimals of .*x.csv seem to be marked by commas, which separate its values as well"
UNNAMED = rf"{BOTH} .* separate values by semicolons, or name the columns in a first line$"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (marked(POINTS, separator=",").replace('"', ""), rf"{BOTH} .* values by semicolons$"),
        (marked(POINTS, None, ",").replace('"', ""), UNNAMED),
        ("2002,01\n2002,11\n" * 50, UNNAMED),
        (marked(POINTS[:, :1], ("a",), ",").replace('"', ""), BOTH),
        (marked(POINTS, separator=","), rf"the column a of .* holds '.*': {DECIMALS}"),
        ("a;b\n" + "1,234;2\n" * 50, f"1,234 in .* may be 1.234 or 1234: {DECIMALS}"),
        ("a\tb\n" + "1,234\t2\n" * 50, f"1,234 in .* may be 1.234 or 1234: {DECIMALS}"),
        ("a;b\n" + "1.234;2\n567;3\n" * 50, f"1.234 in .* may be 1.234 or 1234: {DECIMALS}"),
        ("a\tb\n" + "1.234\t2\n567\t3\n" * 50, f"1.234 in .* may be 1.234 or 1234: {DECIMALS}"),
        ("a;b\n" + "1,234,567;2,5\n" * 50, rf"a of .* holds '1,234,567': {DECIMALS}"),
        ("a;b\n" + "1.234,5;2\n" * 50, rf"holds '1.234,5': {DECIMALS}, or .* --columns b$"),
        ("a;b\n" + "1,5;2.5\n" * 50, rf"holds '1,5': {DECIMALS}, or .* --columns b$"),
    ],
)
def test_commas_and_points_that_may_mean_two_things_are_refused(write, content, message):
    with pytest.raises(UserError, match=message):
        read(write(content))


LATE = "a;b\n" + "1.712;2\n" * 9_000 + "1.712;2,5\n"  # beyond the lines that are judged first


@pytest.mark.parametrize("columns", [(), ("a",)])
@pytest.mark.parametrize("beside", ["3,90", "1,234", "1.234,5", "1.234.567", '"3,90"', LATE])
def test_points_that_may_group_are_not_taken_nor_recommended(write, beside, columns):
    separator = "," if '"' in beside else ";"
    rows = f"a{separator}b\n" + f"1.712{separator}{beside}\n" * 50
    with pytest.raises(UserError, match=f"1.712 in .* may be 1.712 or 1712: {DECIMALS}$"):
        read(write(LATE if beside is LATE else rows), columns=columns)


@pytest.mark.parametrize(
    "rows",
    [
        "1,5,2,3\n" * 50,  # whole numbers
        "year,month\n" + "2002,01\n2002,11\n" * 50,
        "1,200,3,400\n" * 50,
        "1.234,0.567\n2,3\n" * 50,  # commas separate: points group nothing
        "1.234;0.567\n2;3\n" * 50,  # nor do they where one is zero point something
        "100.125;1200\n" * 50,
    ],
)
def test_numbers_that_can_be_nothing_else_are_not(write, rows):
    found = read(write(rows))
    line = rows.splitlines()[rows[0].isalpha()].replace(";", ",")
    np.testing.assert_array_equal(found.values[0], np.float32(line.split(",")))


@pytest.mark.parametrize(
    ("content", "wanted", "first"),
    [
        ("a;b;l\n" + "1;2;1,234\n3;4;3,400\n" * 50, ("a", "b"), (1, 2)),
        ("a;b;l\n" + "1.5;2;1,234\n3;4;3,400\n" * 50, ("a", "b"), (1.5, 2)),
        ("a;b;l\n" + "1,5;2;1.234\n3;4;2.5\n" * 50, ("a", "b"), (1.5, 2)),
        ("a;b;l\n" + "1,234;2;2,5\n" * 50, ("a", "b"), (1.234, 2)),  # l tells what commas are
        ("1;2;1,234\n3;4;3,400\n" * 50, ("0", "1"), (1, 2)),
        ("a;b;l\n" + "1.712;2;3,90\n0.5;4;1\n" * 50, ("a", "b"), (1.712, 2)),
        ("a;b;l\n" + "1.712;2;1,234,567\n" * 50, ("a", "b"), (1.712, 2)),
        ("a;b;l\n" + "1;2;1.234\n3;4;567\n" * 50, ("a", "b"), (1, 2)),
    ],
)
def test_commas_and_points_in_columns_that_are_not_taken_are_no_matter(
    write, content, wanted, first
):
    found = read(write(content), columns=wanted)
    np.testing.assert_array_equal(found.values[0], np.float32(first))


def test_commas_in_a_label_are_no_matter(write):
    found = read(write("a;b;l\n" + "1;2;1,234\n3;4;3,400\n" * 50), label="l")
    np.testing.assert_array_equal(found.labels, [0, 1] * 50)


def test_a_packed_text_and_one_with_a_mark_are_the_same(write):
    plain = read(write(text(POINTS))).values
    for content, name in (
        (gzip.compress(text(POINTS).encode()), "x.csv.gz"),
        (b"\xef\xbb\xbf" + text(POINTS).encode(), "y.csv"),
    ):
        found = read(write(content, name))
        np.testing.assert_array_equal(found.values, plain)
        assert found.columns == ("a", "b", "c")


@pytest.mark.parametrize(
    ("head", "rows", "columns"),
    [
        (None, 200, ("0", "1", "2")),  # data from the first line on
        ((0, 1, 2), 200, ("0", "1", "2")),  # numbers that number columns are no data
        (("", "b", "c"), 200, ("b", "c")),  # what pandas writes before its rows
        ((" a", "b ", "c"), 200, ("a", "b", "c")),
    ],
)
def test_what_the_first_line_says(write, head, rows, columns):
    found = read(write(text(POINTS, head)))
    assert found.columns == columns
    assert len(found.values) == rows
    left_out = any("numbers the rows" in note for note in found.notes)
    assert left_out is (head is not None and head[0] == "")


@pytest.mark.parametrize("kind", [pa.int8(), pa.float16(), pa.float64(), pa.decimal128(9, 4)])
def test_numbers_of_any_kind_in_a_parquet_are_points(tmp_path, kind):
    values = np.arange(-50, 50)
    column = pa.array(values.astype(np.float64)).cast(kind)
    parquet.write_table(pa.table({"a": column, "b": values}), tmp_path / "x.parquet")
    found = read(tmp_path / "x.parquet")
    np.testing.assert_array_equal(found.values, np.stack([values, values], 1).astype(np.float32))
    assert found.values.dtype == np.float32


def test_columns_are_taken_in_the_order_that_is_asked_for(write, tmp_path):
    np.save(tmp_path / "x.npy", POINTS)
    expected = POINTS[:, [2, 0]].astype(np.float32)
    table = read(write(text(POINTS)), columns=("c", "a"))
    array = read(tmp_path / "x.npy", columns=("2", "0"))
    np.testing.assert_array_equal(table.values, expected)
    np.testing.assert_array_equal(array.values, expected)
    assert (table.columns, array.columns) == (("c", "a"), ("2", "0"))


def test_a_label_is_no_coordinate_and_goes_with_its_rows(write, tmp_path):
    rows = [[*point[:2], kind] for point, kind in zip(POINTS, KINDS, strict=True)]
    np.savez(tmp_path / "x.npz", x=POINTS[:, :2], kind=KINDS)
    for path in (write(text(rows, ("a", "b", "kind"))), tmp_path / "x.npz"):
        data = load(UserData(path=str(path), label="kind"))
        where = [np.flatnonzero(POINTS[:, 0].astype(np.float32) == x)[0] for x in data.train[:, 0]]
        assert data.shape == (2,)
        np.testing.assert_array_equal(data.labels, (KINDS[where] == "up").astype(int))


def test_labels_are_no_part_of_the_fingerprint_and_have_their_own(tmp_path):
    np.savez(tmp_path / "x.npz", x=POINTS, one=KINDS, other=KINDS[::-1])
    without, one, other = (
        load(UserData(path=str(tmp_path / "x.npz"), label=label))
        for label in ("other", "one", "other")
    )
    assert without.fingerprint == one.fingerprint == other.fingerprint
    assert one.labels_digest != other.labels_digest == without.labels_digest != ""


def test_a_name_with_a_comma_is_quoted_and_refusals_say_so(write):
    """What a refusal says to type is what the command line reads."""
    head = ("a,b", 'c "d"', "e f", "kind, of it")
    rows = [[*point, kind] for point, kind in zip(POINTS, KINDS, strict=True)]
    path = write(text(rows, head))
    with pytest.raises(UserError) as refused:
        read(path)
    words = shlex.split(str(refused.value).partition("do with ")[2].replace(", or name", " ;"))
    assert words[-2:] == ["--label", "kind, of it"]
    done = otgan("run", "points", "--data", path, *words[:2], "--dry-run")
    assert json.loads(done.output)["data"]["columns"] == list(head[:3])
    np.testing.assert_array_equal(read(path, columns=head[:3]).values, POINTS.astype(np.float32))


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ('"a', "must end with a quote"),
        ('"a"b', "must end with a quote"),
        ('"a,b', "must end with a quote"),
        ('"a\nb', "must end with a quote"),
        ("a\nb", "a name that holds an end of line must stand in quotes"),
        ("a\rb", "a name that holds an end of line must stand in quotes"),
    ],
)
def test_a_list_that_cannot_be_read_is_told_why(listed, message, tmp_path):
    done = otgan("run", "points", "--data", tmp_path, "--columns", listed)
    assert done.exit_code == 2
    assert message in done.output


# --- what is refused ------------------------------------------------------------------------------

WORDS = [[*point[:2], kind] for point, kind in zip(POINTS, KINDS, strict=True)]
HOLES = [
    ["" if i % 50 == 0 else a, "NA" if i % 40 == 0 else b] for i, (a, b, _) in enumerate(POINTS)
]
ONE_WORD = [[a, "1,5" if i == 77 else b] for i, (a, b, _) in enumerate(POINTS)]
ONE_X = ("0,656;{0}\n" * 120 + "x;{0}\n").format
TEXTS = {
    "words": (text(WORDS), {}, r"column c of .* \(such as 'up'\): .* --columns a,b, .* --label c"),
    "a word": (text(ONE_WORD, "ab"), {}, r"column b of .* holds '1,5': write .* --columns a$"),
    "a word far down": (
        "a;b\n" + ONE_X("1,5"),
        {},
        r"column a of .* \(such as 'x'\): .* --columns b",
    ),
    "a word among commas": ("a;b\n" + ONE_X(2), {}, r"column a of .* \(such as 'x'\): take"),
    "two marks": ("a;b\n" + "1.5;2,5\n0,6;2,5\n" * 60, {}, "column a of .* holds '0,6': write"),
    "words alone": (text([[kind] for kind in KINDS], "k"), {}, "has no column of numbers"),
    "words beside a label": (
        text([[*row, "x"] for row in WORDS], "abcd"),
        {"label": "c"},
        "column d of .* --columns a,b$",
    ),
    "holes": (text(HOLES, "ab"), {}, r"missing in 8 of the 200 rows .* \(4 in a, 5 in b\)"),
    "unknown column": (text(POINTS), {"columns": ("q",)}, "has no column 'q': it has a, b, c"),
    "unknown label": (text(POINTS), {"label": "q"}, "has no column 'q': it has a, b, c"),
    "every row its label": (text(POINTS), {"label": "a"}, "a of .* has 200 different values"),
    "twice": (text(POINTS, "aab"), {}, "several columns called a: rename"),
    "ragged": (text([*POINTS, [1, 2]]), {}, r"\(CSV parse error: Row #202: Expected 3 columns"),
    "empty": ("", {}, "cannot be read as a table"),
    "head alone": (text([]), {}, "holds 0 examples"),
    "bytes": (bytes(range(256)) * 9, {}, "cannot be read as a table|no column of numbers"),
    "infinite": (text([*POINTS, [1, "inf", 2]]), {}, "1 of the 201 examples .* infinity"),
    "pictures' keys": (
        text(POINTS),
        {"resize": 16, "crop": "center"},
        "is a table: leave out --resize and --crop, for pictures alone",
    ),
}


@pytest.mark.parametrize(("content", "wanted", "message"), TEXTS.values(), ids=TEXTS.keys())
def test_unfit_tables_are_refused_in_a_sentence(write, content, wanted, message):
    path = write(content)
    with pytest.raises(UserError, match=message) as refused:
        load(UserData(path=str(path), **wanted))
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"PAR1" + bytes(99) + b"PAR1", b"a,b\n1,2\n"])
def test_a_file_that_is_no_parquet_is_refused(write, content):
    with pytest.raises(UserError, match=r"x\.parquet cannot be read as a table"):
        read(write(content, "x.parquet"))


@pytest.mark.parametrize("name", ["x.xlsx", "x.png", "x"])
def test_a_file_of_another_kind_is_told_what_is_read(write, name):
    with pytest.raises(UserError, match=r"give an \.npz, \.npy, \.csv, \.tsv or \.parquet file"):
        read(write("a,b\n", name))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"columns": ("3",)}, "has no column '3': those of an array are numbered from 0 to 2"),
        ({"columns": ("a",)}, "has no column 'a'"),
        ({"label": "y"}, "holds one array and no labels"),
        ({"channels": "rgb"}, "holds points: leave out --channels"),
    ],
)
def test_what_an_array_does_not_have_is_refused(tmp_path, wanted, message):
    np.save(tmp_path / "x.npy", POINTS)
    with pytest.raises(UserError, match=message):
        read(tmp_path / "x.npy", **wanted)


def test_labels_of_another_length_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", x=POINTS, y=KINDS[:-1])
    with pytest.raises(UserError, match=r"y in .* has shape \(199,\), and labels of 200"):
        read(tmp_path / "x.npz", label="y")
    with pytest.raises(UserError, match="has no array 'z' for labels: it holds x, y"):
        read(tmp_path / "x.npz", label="z")


def test_an_npy_is_never_unpickled_and_believed_only_as_far_as_it_goes(tmp_path, write):
    np.save(tmp_path / "x.npy", np.array([[1, None]] * 200, object), allow_pickle=True)
    with pytest.raises(UserError, match="Python objects, which otgan never unpickles"):
        read(tmp_path / "x.npy")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"shape": (10**12, 3), "fortran_order": False, "descr": "<f4"}
    )
    with pytest.raises(UserError, match="is damaged"):
        read(write(header.getvalue() + bytes(64), "x.npy"))
    with pytest.raises(UserError, match="is damaged"):
        read(write(b"a,b\n", "x.npy"))


def test_so_many_values_that_no_step_holds_them_are_refused(tmp_path, write):
    np.save(tmp_path / "x.npy", np.zeros((2, examples.MOST_VALUES + 1), np.uint8))
    with pytest.raises(UserError, match=r"every example in .* has 786,433 values"):
        read(tmp_path / "x.npy")
    with pytest.raises(UserError, match=r"every example in .* has 1,000,000 values"):
        read(write(",".join(f"c{i}" for i in range(10**6))))


# --- what a run does not begin with ---------------------------------------------------------------


def config_of(path, batch=32, **wanted):
    data = {"kind": "own", "path": str(path), **wanted}
    return experiments.resolve("sinkhorn-grid", {"data": data, "batch.size": batch})


def test_constant_columns_are_named_unless_they_are_asked_for(write):
    path = write(text([[a, 7, b, 7.5] for a, b, _ in POINTS], "abcd"))
    config = config_of(path)
    with pytest.raises(UserError, match=r"constant \(b, d\): leave them out with --columns a,c,"):
        check_data(config, load(config.data))
    for columns in (["a", "c"], ["a", "b", "c"]):
        named = config_of(path, columns=columns)
        check_data(named, load(named.data))


def test_fewer_examples_than_a_batch_are_refused(write):
    config = config_of(write(text(POINTS)), batch=181)
    with pytest.raises(UserError, match=r"180 examples .* 181 of a batch: give --batch-size 128"):
        check_data(config, load(config.data))
    config = config_of(write(text(POINTS)), batch=180)
    check_data(config, load(config.data))


def test_records_from_before_these_keys_mean_the_same():
    old = {"kind": "own", "path": "/x.npz", "held_out": 0.1}
    assert UserData.model_validate(old) == UserData(path="/x.npz")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"columns": ["a", "a"]}, "data.columns: name each column once"),
        ({"columns": ["a"], "label": "a"}, "a is the label: leave it out of columns"),
        ({"resize": 7}, "data.resize: it should be greater than or equal to 8"),
        ({"crop": "left"}, "data.crop"),
    ],
)
def test_wrong_keys_are_told(wanted, message):
    with pytest.raises(UserError, match=message):
        config_of("x.csv", **wanted)


def test_columns_that_there_are_are_named_as_the_flag_wants_them(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text('a,"b,c",d e,"f""g"\n' + "1,2,3,4\n5,6,7,8\n")
    with pytest.raises(UserError) as refused:
        own.read(UserData(path=str(table), columns=("z",)))
    there = str(refused.value).partition("it has ")[2]
    assert there == 'a, "b,c", "d e", "f""g"'
    assert comma_separated(there) == ["a", "b,c", "d e", 'f"g']
