import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models import vgg

from cnnlab.core.errors import CnnlabError
from cnnlab.style.vgg import TORCHVISION_CONVENTION, conv_channels, init_random_vgg
from cnnlab.style.vgg_weights import (
    hash_vgg_weights,
    read_vgg_weights,
    save_vgg_weights,
    truncate_vgg_weights,
)

TENSORS = init_random_vgg(conv_channels((2, 2, 1), (4, 6, 8)), torch.Generator().manual_seed(0))
METADATA = {
    "mean": "0,0,0",
    "std": "1,1,1",
    "range": "0..1",
    "color": "RGB",
    "padding": "reflect",
    "pool": "max",
}


def test_saved_weights_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    changes = {"color": "BGR", "padding": "reflect", "mean": (0.1, 0.2, 0.3)}
    expected = replace(TORCHVISION_CONVENTION, **changes)
    save_vgg_weights(path, TENSORS, expected)
    tensors, convention = read_vgg_weights(path)
    assert convention == expected and tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())


def test_hash_does_not_depend_on_the_file(tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    exact = {name: tensor.half().float() for name, tensor in TENSORS.items()}
    save_file({name: tensor.half() for name, tensor in exact.items()}, path, METADATA)
    convention = read_vgg_weights(path)[1]
    assert (
        hash_vgg_weights(*read_vgg_weights(path))
        == hash_vgg_weights(exact, convention)
        == hash_vgg_weights(dict(reversed(exact.items())), convention)
    )
    assert hash_vgg_weights(exact, convention) != hash_vgg_weights(
        exact | {"conv1_1.bias": torch.ones(4)}, convention
    )
    assert hash_vgg_weights(exact, convention) != hash_vgg_weights(
        exact, replace(convention, pool="average")
    )


@pytest.mark.parametrize("zipped", [True, False])  # torch's files of before 2020 are no zips
def test_torchvision_layers_get_the_papers_names(tmp_path: Path, zipped: bool) -> None:
    layers = vgg.make_layers([4, 4, "M", 6, 6, "M", 8, 8, 8, 8, "M", 5])
    model = torch.nn.ModuleDict(
        {"features": layers, "classifier": torch.nn.Sequential(torch.nn.Linear(5, 2))}
    )
    torch.save(model.state_dict(), tmp_path / "vgg.pth", _use_new_zipfile_serialization=zipped)
    tensors, convention = read_vgg_weights(tmp_path / "vgg.pth")
    assert convention == TORCHVISION_CONVENTION
    assert [name for name in tensors if name.endswith("weight")] == [
        f"conv{name}.weight"
        for name in ("1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "3_4", "4_1")
    ]
    assert torch.equal(tensors["conv3_4.weight"], layers[16].weight)
    assert list(truncate_vgg_weights(tensors, "conv2_1")) == [
        f"conv{name}.{part}" for name in ("1_1", "1_2", "2_1") for part in ("weight", "bias")
    ]
    batch_norm = torch.nn.ModuleDict({"features": vgg.make_layers([4, 4, "M", 6], batch_norm=True)})
    torch.save(batch_norm.state_dict(), tmp_path / "bn.pth")
    with pytest.raises(
        CnnlabError,
        match=r"bn.pth cannot be used: features.1 is not a convolution of a VGG without batch norm",
    ):
        read_vgg_weights(tmp_path / "bn.pth")


class Canary:
    """An object that writes a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("canary"),)


def test_pickled_code_is_not_executed(here: Path) -> None:
    torch.save({"features.0.weight": Canary()}, here / "a.pth")
    (here / "b.pth").write_bytes(pickle.dumps(Canary()))
    for name in ("a.pth", "b.pth"):
        with pytest.raises(CnnlabError, match=f"{name} cannot be used: it holds more than tensors"):
            read_vgg_weights(here / name)
    assert not (here / "canary").exists()


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "its metadata must contain mean, std, range, color, padding, pool; mean is missing"),
        (METADATA | {"mean": "1,2"}, "its metadata's mean cannot be '1,2'"),
        (METADATA | {"std": "a,b,c"}, "could not convert"),
        (METADATA | {"pool": "median"}, "its metadata's pool cannot be 'median'"),
        (METADATA | {"sha256": "0" * 64}, "it is damaged: its checksum differs"),
    ],
)
def test_file_without_convention_is_refused(
    tmp_path: Path, metadata: dict[str, str], message: str
) -> None:
    save_file(TENSORS, tmp_path / "a.safetensors", metadata)
    with pytest.raises(CnnlabError, match=message):
        read_vgg_weights(tmp_path / "a.safetensors")


def test_damaged_and_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_vgg_weights(path, TENSORS, TORCHVISION_CONVENTION)
    content = path.read_bytes()
    changed = bytearray(content)
    changed[-1] ^= 64
    for damaged, message in (
        (bytes(changed), "damaged: its checksum differs"),
        (content[:-9], "cannot be used"),
        (content[:5], "cannot be used"),
        (b"", "cannot be used"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(CnnlabError, match=message):
            read_vgg_weights(path)
        path.with_suffix(".pth").write_bytes(damaged)
        with pytest.raises(CnnlabError, match=r"cannot be used|is not a PyTorch file"):
            read_vgg_weights(path.with_suffix(".pth"))
    with pytest.raises(CnnlabError, match="No such file"):
        read_vgg_weights(tmp_path / "absent.safetensors")
    path.write_bytes(content)
    with pytest.raises(
        CnnlabError, match="it is another network: vgg19's conv1_1 has 64 filters of 3x3x3"
    ):
        read_vgg_weights(path, "vgg19")
    broken = load_file(path) | {"conv2_1.bias": torch.full((6,), float("nan"))}
    save_file(broken, path, METADATA)
    with pytest.raises(CnnlabError, match=r"conv2_1.bias has values that are not finite"):
        read_vgg_weights(path)
