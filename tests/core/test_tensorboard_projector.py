from pathlib import Path

import numpy as np
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from cnnlab.core.tensorboard_projector import write_projector


def test_write_projector_round_trips_points_metadata_and_sprite(tmp_path: Path) -> None:
    points = {"a map/of ..": np.arange(6.0).reshape(3, 2), "features": np.ones((3, 4))}
    words = {"image": ["one", "two\tthree\n", "üßé"], "class": ["a", "b", ""]}
    sheet = np.arange(64, dtype=np.uint8).reshape(8, 8)
    write_projector(tmp_path, points, words, sheet, 4)
    config = text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), ProjectorConfig())
    assert [embedding.tensor_name for embedding in config.embeddings] == list(points)
    flat = np.array([[0, 1, 0], [2, 3, 0], [4, 5, 0]])  # of two axes TensorBoard draws nothing
    for embedding, array in zip(config.embeddings, (flat, points["features"]), strict=True):
        assert tuple(embedding.tensor_shape) == array.shape
        tensor = np.fromfile(tmp_path / embedding.tensor_path, dtype="<f4").reshape(array.shape)
        np.testing.assert_array_equal(tensor, array)
        assert (tmp_path / embedding.metadata_path).read_text().splitlines() == [
            "image\tclass",
            "one\ta",
            "two\\tthree\\n\tb",
            "üßé\t",
        ]
        np.testing.assert_array_equal(
            np.asarray(Image.open(tmp_path / embedding.sprite.image_path)), sheet
        )
        assert list(embedding.sprite.single_image_dim) == [4, 4]
