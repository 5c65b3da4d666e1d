"""What TensorBoard's projector shows: points, a line of words and a small picture for each."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cnnlab.core.files import write_atomically, write_text
from cnnlab.core.image import save_png
from cnnlab.core.quoting import printable


def write_projector(
    folder: Path,
    points: Mapping[str, np.ndarray],
    columns: Mapping[str, Sequence[str]],
    sheet: np.ndarray,
    tile: int,
) -> None:
    """Named sets of (N, D) points of the same N pictures, the first shown first; columns of N words; a sheet of their
    pictures, each `tile` pixels wide and high, row by row. Below `folder`, which TensorBoard is given."""
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    place = folder / "projector"
    place.mkdir(exist_ok=True)
    rows = zip(*columns.values(), strict=True)
    lines = ["\t".join(columns), *("\t".join(map(printable, row)) for row in rows)]
    write_text(place / "pictures.tsv", "\n".join(lines) + "\n")
    save_png(place / "sprite.png", sheet)
    config = ProjectorConfig()
    for number, (name, array) in enumerate(points.items()):
        file = f"projector/{number}.bytes"
        array = np.pad(
            array, ((0, 0), (0, max(0, 3 - array.shape[1])))
        )  # of fewer axes it draws nothing
        blob = np.ascontiguousarray(array, dtype="<f4").tobytes()
        write_atomically(folder / file, lambda part, blob=blob: part.write_bytes(blob))  # type: ignore[misc]
        one = config.embeddings.add(tensor_name=name, tensor_path=file)
        one.tensor_shape.extend(array.shape)
        one.metadata_path = "projector/pictures.tsv"
        one.sprite.image_path = "projector/sprite.png"
        one.sprite.single_image_dim.extend((tile, tile))
    write_text(folder / "projector_config.pbtxt", text_format.MessageToString(config))
