"""Tables that Hugging Face's `datasets` saved, and pictures within tables: the same files, made by
pyarrow alone.
"""

import io
import json
import re

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from otgan import suggest
from otgan.config import UserData
from otgan.data import load, own, picture_sizes
from otgan.errors import UserError
from tests.support.commands import otgan

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(200, 2))
PICTURE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
PICTURES = RNG.integers(0, 256, (120, 16, 16, 3), np.uint8)


def encoded(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def of_pictures(pictures, path=None):
    """A column of Hugging Face's `Image`; a picture is an array, bytes or None."""
    rows = [encoded(p) if isinstance(p, np.ndarray) else p for p in pictures]
    return pa.array([{"bytes": row, "path": path} for row in rows], PICTURE)


def numbers():
    kinds = ["up" if b > 0 else "down" for _, b in POINTS]
    return pa.table({"a": POINTS[:, 0], "b": POINTS[:, 1], "kind": kinds})


def save(path, table, files=1, **state):
    """A folder as `Dataset.save_to_disk` writes it."""
    path.mkdir(parents=True)
    names = [f"data-{i:05}-of-{files:05}.arrow" for i in range(files)]
    cuts = np.linspace(0, len(table), files + 1).astype(int)
    for name, start, stop in zip(names, cuts[:-1], cuts[1:], strict=True):
        with pa.ipc.new_stream(str(path / name), table.schema) as stream:
            stream.write_table(table.slice(start, stop - start), max_chunksize=50)
    (path / "dataset_info.json").write_text("{}")
    listed = {"_data_files": [{"filename": name} for name in names], "_split": None}
    (path / "state.json").write_text(json.dumps({**listed, **state}))
    return path


def save_splits(path, **splits):
    for name, table in splits.items():
        save(path / name, table)
    (path / "dataset_dict.json").write_text(json.dumps({"splits": [*splits]}))
    return path


def read(path, **wanted):
    return own.read(UserData(path=str(path), **wanted))


# --- what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [1, 3])
def test_numbers_of_all_files_are_points_in_their_order(tmp_path, files):
    path = save(tmp_path / "saved", numbers(), files)
    found = read(path, label="kind")
    np.testing.assert_array_equal(found.values, POINTS.astype(np.float32))
    np.testing.assert_array_equal(found.labels, POINTS[:, 1] > 0)
    assert found.notes == ("saved: 200 rows of the columns a, b, 2 labels in kind",)
    np.testing.assert_array_equal(read(path, columns=("b",)).values, found.values[:, 1:])


def test_files_are_taken_in_the_order_that_is_written_down(tmp_path):
    path = save(tmp_path / "saved", numbers(), 2)
    state = json.loads((path / "state.json").read_text())
    state["_data_files"].reverse()
    (path / "state.json").write_text(json.dumps(state))
    swapped = np.concatenate([POINTS[100:], POINTS[:100]]).astype(np.float32)
    np.testing.assert_array_equal(read(path, columns=("a", "b")).values, swapped)


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_pictures_are_decoded_in_memory(tmp_path, kind):
    columns = {"n": np.arange(120), "image": of_pictures(PICTURES), "label": [*"ab"] * 60}
    table = pa.table({**columns, "mask": of_pictures(PICTURES[::-1])})
    path = tmp_path / ("x.parquet" if kind == "parquet" else "saved")
    parquet.write_table(table, path) if kind == "parquet" else save(path, table, 2)
    found = read(path, label="label")
    np.testing.assert_array_equal(found.values, PICTURES)
    np.testing.assert_array_equal(found.labels, [0, 1] * 60)
    said = "120 pictures of 16 x 16 pixels, in color, of the column image, 2 labels in label"
    assert found.notes == (f"{path.name}: {said}", "left out: the columns n, mask")
    gray = read(path, channels="gray", resize=8, crop="center")
    assert gray.values.shape == (120, 8, 8, 1)
    assert gray.notes[1] == "left out: the columns n, label, mask"


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        (("test", "train"), "taken: the split train; left out: test"),
        (("only",), "taken: the split only"),
    ],
)
def test_of_several_splits_train_is_taken_or_the_only_one(tmp_path, splits, said):
    halves = [numbers().slice(0, 120), numbers().slice(120)][-len(splits) :]
    path = save_splits(tmp_path / "saved", **dict(zip(splits, halves, strict=True)))
    found = read(path, label="kind")
    np.testing.assert_array_equal(found.values, POINTS[120:].astype(np.float32))
    assert found.notes[1] == said


def test_rules_bring_pictures_of_a_table_to_one_size(tmp_path):
    mixed = [RNG.integers(0, 256, (40 + i % 3, 50, 3), np.uint8) for i in range(120)]
    table = pa.table({"image": of_pictures(mixed)})
    parquet.write_table(table, tmp_path / "x.parquet")
    for path in (tmp_path / "x.parquet", save(tmp_path / "saved", table)):
        config = suggest.resolve("pictures", source=str(path))
        assert load(config.data).shape == (32, 32, 3)
        assert f"otgan run pictures --data {path}" in otgan("suggest", path).output


def test_of_a_parquet_the_pictures_alone_are_read_for_their_sizes(tmp_path, monkeypatch):
    table = pa.table({"n": np.arange(120), "image": of_pictures(PICTURES), "x": np.arange(120)})
    parquet.write_table(table, tmp_path / "x.parquet")
    parquet.write_table(numbers(), tmp_path / "numbers.parquet")
    asked, real = [], parquet.ParquetFile.read
    monkeypatch.setattr(
        parquet.ParquetFile,
        "read",
        lambda *words, **named: asked.append(named.get("columns")) or real(*words, **named),
    )
    assert picture_sizes(UserData(path=str(tmp_path / "x.parquet"))) == {(16, 16)}
    assert picture_sizes(UserData(path=str(tmp_path / "numbers.parquet"))) == set()
    assert asked == [["image"]]


@pytest.mark.parametrize("name", ["pics.csv", "pics.parquet", "pics.tsv.gz"])
def test_a_folder_that_is_called_as_a_table_is_a_folder(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    with pytest.raises(UserError, match=r"holds no pictures: otgan reads \.bmp"):
        read(folder)
    parquet.write_table(numbers(), folder / "part-00000.parquet")
    with pytest.raises(UserError, match=r"holds no pictures: .*, and it holds 1 \.parquet file"):
        read(folder)
    (folder / "part-00000.parquet").unlink()
    for i, picture in enumerate(PICTURES):
        (folder / f"{i:03}.png").write_bytes(encoded(picture))
    np.testing.assert_array_equal(read(folder).values, PICTURES)
    assert picture_sizes(UserData(path=str(folder))) == {(16, 16)}


# --- what is refused ------------------------------------------------------------------------------

TABLES = {
    "no picture": ([None], {}, "image of row 1 holds no picture: remove such rows"),
    "no image": ([b"text"], {}, r"image of row 1 cannot be decoded .* \(of no known format\)"),
    "cut short": ([encoded(PICTURES[1])[:300]], {}, "image of row 1 cannot be decoded"),
    "sizes": (
        [PICTURES[0, :9], PICTURES[0, :, :10]],
        {},
        r"have 3: 16 x 16 \(120, such as .*row 0",
    ),
    "columns": ([], {"columns": ("n",)}, "holds pictures: leave out --columns, for points alone"),
    "unknown label": ([], {"label": "q"}, "has no column 'q': it has image, n"),
    "a label of pictures": ([], {"label": "image"}, "the column image of .* holds no labels"),
    "every row its label": ([], {"label": "n"}, "n of .* different values"),
}


@pytest.mark.parametrize(("more", "wanted", "message"), TABLES.values(), ids=TABLES.keys())
def test_unfit_pictures_are_refused_in_a_sentence(tmp_path, more, wanted, message):
    column = of_pictures([PICTURES[0], *more, *PICTURES[1:]])
    table = pa.table({"image": column, "n": np.arange(len(column))})
    parquet.write_table(table, tmp_path / "x.parquet")
    for path in (save(tmp_path / "saved", table), tmp_path / "x.parquet"):
        with pytest.raises(UserError, match=message) as refused:
            read(path, **wanted)
        assert str(path) in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_bytes_that_are_no_image_of_hugging_face_are_told(tmp_path, kind):
    pictures = pa.array([encoded(picture) for picture in PICTURES], kind)
    table = pa.table({"image": pictures, "n": np.arange(120)})
    parquet.write_table(table, tmp_path / "x.parquet")
    parquet.write_table(table.select(["image"]), tmp_path / "alone.parquet")
    said = "the column image of .* holds bytes: otgan reads pictures stored as Hugging Face's Image"
    with pytest.raises(UserError, match=f"{said}, so store them as that, or .* --columns n$"):
        read(tmp_path / "x.parquet")
    with pytest.raises(UserError, match=f"{said}, so store them as that$"):
        read(save(tmp_path / "saved", table.select(["image"])))
    with pytest.raises(UserError, match=said):
        read(tmp_path / "alone.parquet", columns=("image",))


def test_all_faults_of_a_table_are_told_at_once(tmp_path):
    rows = [PICTURES[0], *[None] * 12, b"text"]
    path = save(tmp_path / "saved", pa.table({"image": of_pictures(rows)}))
    with pytest.raises(UserError) as refused:
        read(path)
    lines = str(refused.value).splitlines()
    assert lines[0] == f"{path} cannot be read as it is:"
    assert lines[-1] == "  and 3 more rows"


def test_a_path_in_a_table_is_not_opened(tmp_path, monkeypatch):
    Image.fromarray(PICTURES[0]).save(tmp_path / "a.png")
    column = of_pictures([None] * 120, str(tmp_path / "a.png"))
    path = save(tmp_path / "saved", pa.table({"image": column}))
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(
        UserError, match=r"a\.png' in place of a picture, which otgan does not open"
    ):
        read(path)


def test_splits_without_train_are_named(tmp_path):
    path = save_splits(tmp_path / "saved", a=numbers(), b=numbers())
    with pytest.raises(UserError, match=r"the splits a, b, .* such as .*saved/a$"):
        read(path)
    assert len(read(path / "a", label="kind").values) == 200


def test_pictures_keys_are_no_use_for_numbers(tmp_path):
    with pytest.raises(UserError, match="saved is a table: leave out --resize, for pictures alone"):
        read(save(tmp_path / "saved", numbers()), resize=16)


STATES = {
    "a selection": ({"_indices_files": [{"filename": "i.arrow"}]}, "flatten_indices"),
    "an old selection": ({"_indices_data_files": [{"filename": "i.arrow"}]}, "flatten_indices"),
    "no list": ({"_data_files": None}, "lists no _data_files"),
    "no rows": ({"_data_files": []}, "holds 0 examples"),
    "another place": ({"_data_files": [{"filename": "../x.arrow"}]}, "no file of its folder"),
    "the root": ({"_data_files": [{"filename": "/etc/passwd"}]}, "no file of its folder"),
    "above": ({"_data_files": [{"filename": ".."}]}, "no file of its folder"),
    "itself": ({"_data_files": [{"filename": ""}]}, "no file of its folder"),
    "a number": ({"_data_files": [{"filename": 3}]}, "no file of its folder"),
    "no entry": ({"_data_files": ["x.arrow"]}, "no file of its folder"),
    "half a letter": ({"_data_files": [{"filename": "\ud800"}]}, "no file of its folder"),
    "a long name": ({"_data_files": [{"filename": "x" * 999}]}, "no file of its folder"),
    "nothing there": ({"_data_files": [{"filename": "x.arrow"}]}, "x.arrow, which is not there"),
}


@pytest.mark.parametrize(("state", "message"), STATES.values(), ids=STATES.keys())
def test_what_a_folder_says_is_not_believed(tmp_path, state, message):
    (tmp_path / "x.arrow").write_bytes(b"elsewhere")
    path = save(tmp_path / "saved", numbers(), **state)
    with pytest.raises(UserError, match=message) as refused:
        read(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff", b"[" * 99_999])
@pytest.mark.parametrize("name", ["state.json", "dataset_dict.json"])
def test_damaged_words_are_refused(tmp_path, name, content):
    path = save(tmp_path / "saved", numbers())
    (path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name} .*: save the dataset again"):
        read(path)


@pytest.mark.parametrize("splits", [[], "train", [3], None, ["../saved"], ["nowhere"]])
def test_splits_that_are_none_are_refused(tmp_path, splits):
    path = save_splits(tmp_path / "saved", train=numbers())
    (path / "dataset_dict.json").write_text(json.dumps({"splits": splits}))
    with pytest.raises(UserError, match=r"dataset_dict\.json .* save the dataset again"):
        read(path)


@pytest.mark.parametrize("name", ["data-00000-of-00001.arrow", "state.json", "dataset_dict.json"])
def test_links_out_of_the_folder_are_refused(tmp_path, name):
    path = save_splits(tmp_path / "saved", train=numbers())
    file = path / name if name == "dataset_dict.json" else path / "train" / name
    file.rename(tmp_path / "x")
    file.symlink_to(tmp_path / "x")
    with pytest.raises(
        UserError, match=f"{re.escape(name)} is a link that leads out of its folder: put a copy"
    ):
        read(path, label="kind")
    (tmp_path / "x").replace(file.parent / "x")
    file.unlink()
    file.symlink_to(file.parent / "x")
    assert len(read(path, label="kind").values) == 200


def test_a_file_that_is_cut_anywhere_is_refused(tmp_path):
    """Also between two batches, where Arrow itself reads on without a word."""
    path = save(tmp_path / "saved", numbers())
    file = path / "data-00000-of-00001.arrow"
    whole = file.read_bytes()
    for kept in {0, 5, 8, *range(16, len(whole), 200), len(whole) - 8, len(whole) - 1}:
        file.write_bytes(whole[:kept])
        with pytest.raises(UserError, match="cannot be read as a table") as refused:
            read(path, label="kind")
        assert str(file) in str(refused.value)


def test_a_file_with_changed_bytes_is_read_or_refused(tmp_path):
    table = pa.table({"image": of_pictures(PICTURES[:10, :8, :8]), "word": [*"abcde"] * 2})
    path = save(tmp_path / "saved", table)
    file = path / "data-00000-of-00001.arrow"
    whole, draw = file.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        changed = bytearray(whole)
        for place in draw.integers(0, 3_000, 3):
            changed[place] = draw.integers(256)
        file.write_bytes(changed)
        try:
            read(path)
        except UserError:
            refused += 1
    assert refused > 10


def test_files_of_different_columns_are_refused(tmp_path):
    path = save(tmp_path / "saved", numbers(), 2)
    other = save(tmp_path / "other", numbers().rename_columns(["a", "c", "kind"]))
    (other / "data-00000-of-00001.arrow").replace(path / "data-00001-of-00002.arrow")
    with pytest.raises(UserError, match=r"saved cannot be read as a table \(Schema"):
        read(path)


def test_a_table_without_rows_is_refused(tmp_path):
    for column, name in ((of_pictures([]), "image"), (pa.array([], pa.float32()), "a")):
        path = save(tmp_path / name, pa.table({name: column}))
        with pytest.raises(UserError, match="holds 0 examples"):
            load(UserData(path=str(path)))


@pytest.mark.parametrize("missing", ["dataset_info.json", "state.json"])
def test_a_saved_table_that_lacks_what_says_what_it_is_is_no_folder_of_pictures(tmp_path, missing):
    path = save(tmp_path / "saved", numbers())
    (path / missing).unlink()
    done = otgan("suggest", path, "--columns", "a,b")
    assert done.exit_code == 2
    assert f"save_to_disk wrote, but its {missing} is missing: copy the folder" in done.output
