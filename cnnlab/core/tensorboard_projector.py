"""Write the files of TensorBoard's projector: points, with metadata and a thumbnail for each."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cnnlab.core.files import write_atomically, write_text
from cnnlab.core.image import save_png
from cnnlab.core.link_safety import make_subfolder
from cnnlab.core.quoting import printable


def write_projector(
    folder: Path,
    points: Mapping[str, np.ndarray],
    columns: Mapping[str, Sequence[str]],
    sheet: np.ndarray,
    thumbnail_side: int,
) -> None:
    """Write sets of points of the same N images to `folder`, the log directory of TensorBoard.

    `points`: {name: (N, D)}, the first is shown first; `columns`: {name: N texts} of metadata;
    `sheet`: the thumbnails, row by row, each `thumbnail_side` pixels wide and high.
    """
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    subfolder = folder / "projector"
    make_subfolder(subfolder)
    write_text(subfolder / "metadata.tsv", format_metadata(columns))
    save_png(subfolder / "sprite.png", sheet)
    config = ProjectorConfig()
    for number, (name, array) in enumerate(points.items()):
        file = f"projector/{number}.bytes"
        shape = write_tensor(folder / file, array)
        embedding = config.embeddings.add(tensor_name=name, tensor_path=file)
        embedding.tensor_shape.extend(shape)
        embedding.metadata_path = "projector/metadata.tsv"
        embedding.sprite.image_path = "projector/sprite.png"
        embedding.sprite.single_image_dim.extend((thumbnail_side, thumbnail_side))
    write_text(folder / "projector_config.pbtxt", text_format.MessageToString(config))


def format_metadata(columns: Mapping[str, Sequence[str]]) -> str:
    """Return columns of texts as tab-separated values with a header."""
    rows = zip(*columns.values(), strict=True)
    lines = ["\t".join(columns), *("\t".join(map(printable, row)) for row in rows)]
    return "\n".join(lines) + "\n"


def write_tensor(path: Path, array: np.ndarray) -> tuple[int, ...]:
    """Write an (N, D) array as float32 and return its shape.

    It is padded with zeros to three axes, because the projector draws nothing with fewer.
    """
    padded = np.pad(array, ((0, 0), (0, max(0, 3 - array.shape[1]))))
    content = np.ascontiguousarray(padded, dtype="<f4").tobytes()
    write_atomically(path, lambda part: part.write_bytes(content))
    return padded.shape
