"""A small TFDS folder, written without TFDS: its records from the protocol's own words, its
description by hand.
"""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

FEATURES = {
    "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
    "featuresDict": {
        "features": {
            "image": {
                "pythonClassName": "tensorflow_datasets.core.features.image_feature.Image",
                "image": {"dtype": "uint8", "shape": {"dimensions": ["28", "28", "1"]}},
            },
            "label": {
                "pythonClassName": (
                    "tensorflow_datasets.core.features.class_label_feature.ClassLabel"
                ),
                "classLabel": {"numClasses": "10"},
            },
        }
    },
}


def write_tiny(
    data_dir: Path, file_format: str = "array_record", version: str = "3.0.1", seed: int = 0
) -> SimpleNamespace:
    folder = data_dir / "mnist" / version
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    truth = SimpleNamespace(data_dir=data_dir, folder=folder)
    for split, count in (("train", 120), ("test", 30)):
        images, labels = (
            rng.integers(0, 256, (count, 28, 28, 1), np.uint8),
            rng.integers(0, 10, count, np.uint8),
        )
        setattr(truth, split, images)
        setattr(truth, f"{split}_labels", labels)
        records = [_record(image, int(label)) for image, label in zip(images, labels, strict=True)]
        WRITERS[file_format](folder / f"mnist-{split}.{file_format}-00000-of-00001", records)
    (folder / "features.json").write_text(json.dumps(FEATURES))
    (folder / "dataset_info.json").write_text(json.dumps(_info(file_format, version)))
    return truth


def _info(file_format: str, version: str) -> dict:
    template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    splits = [
        {"name": name, "filepathTemplate": template, "numBytes": "1", "shardLengths": [str(count)]}
        for name, count in (("train", 120), ("test", 30))
    ]
    return {
        "name": "mnist",
        "version": version,
        "fileFormat": file_format,
        "moduleName": "m",
        "splits": splits,
    }


def _record(image: np.ndarray, label: int) -> bytes:
    from tensorflow_datasets.proto import tf_example_pb2

    encoded = io.BytesIO()
    Image.fromarray(image[..., 0]).save(encoded, "png")
    example = tf_example_pb2.Example()  # pyright: ignore[reportAttributeAccessIssue]
    example.features.feature["image"].bytes_list.value.append(encoded.getvalue())
    example.features.feature["label"].int64_list.value.append(label)
    return example.SerializeToString()


def _array_record(path: Path, records: list[bytes]) -> None:
    from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]

    writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()


def _tfrecord(path: Path, records: list[bytes]) -> None:
    path.write_bytes(
        b"".join(
            len(record).to_bytes(8, "little") + bytes(4) + record + bytes(4) for record in records
        )
    )


WRITERS = {"array_record": _array_record, "tfrecord": _tfrecord}
