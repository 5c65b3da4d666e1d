import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from torchvision import models
from torchvision.models import vgg

from cnnlab.core.errors import CnnlabError, DataUnavailable
from cnnlab.style.encoder import (
    BUNDLED_WEIGHTS,
    TORCHVISION_FILES,
    load_encoder,
    truncated_megabytes,
)
from cnnlab.style.settings import EncoderSettings
from cnnlab.style.vgg import CONVS_PER_BLOCK, TORCHVISION_CONVENTION, conv_channels, init_random_vgg
from cnnlab.style.vgg_weights import read_vgg_weights, save_vgg_weights, truncate_vgg_weights

VGG16 = EncoderSettings(name="vgg16", weights=None, pool=None)


@pytest.fixture
def server_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder of a server with random VGG-16 convolutions.

    The file's name has its checksum. The folders of torch and cnnlab are empty.
    """
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CNNLAB_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.delenv("CNNLAB_OFFLINE", raising=False)
    torch.manual_seed(0)
    folder = tmp_path / "server"
    folder.mkdir()
    state = torch.nn.ModuleDict({"features": vgg.make_layers(vgg.cfgs["D"])}).state_dict()
    # Like torchvision's file, not a zip.
    torch.save(state, folder / "weights.pth", _use_new_zipfile_serialization=False)
    digest = hashlib.sha256((folder / "weights.pth").read_bytes()).hexdigest()
    (folder / "weights.pth").rename(folder / f"vgg16-{digest[:8]}.pth")
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/vgg16-{digest[:8]}.pth"
    monkeypatch.setattr(
        models, "get_model_weights", lambda name: SimpleNamespace(DEFAULT=SimpleNamespace(url=url))
    )
    monkeypatch.setitem(TORCHVISION_FILES, "vgg16", (f"vgg16-{digest[:8]}.pth", 553))
    yield folder
    server.shutdown()


@pytest.mark.parametrize("name", TORCHVISION_FILES)
def test_file_names_equal_torchvision(name: str) -> None:
    weights = models.get_model_weights(name).DEFAULT
    file, megabytes = TORCHVISION_FILES[name]
    assert weights.url.endswith(f"/{file}") and megabytes == round(
        weights.meta["_file_size"] * 1.048576
    )  # in MiB


def test_download_saves_the_convolutions(
    server_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(
        DataUnavailable, match=r"--download fetches them \(553 MB; 40 MB are kept\)"
    ):
        load_encoder(VGG16, deepest_layer="relu5_1", seed=0, allow_download=False)
    first = load_encoder(VGG16, deepest_layer="relu5_1", seed=0, allow_download=True)
    assert (
        "features=vgg16: downloading 553 MB of weights, once; 40 MB are kept"
        in capsys.readouterr().err
    )
    (saved,) = (tmp_path / "weights").glob("*.safetensors")
    assert saved.name == "vgg16_features.safetensors"
    assert saved.stat().st_size == pytest.approx(truncated_megabytes("vgg16") * 1e6, rel=0.001)
    (file,) = server_folder.iterdir()
    second = load_encoder(VGG16, deepest_layer="relu5_1", seed=0, allow_download=False)
    assert second.sha256 == first.sha256 and capsys.readouterr() == ("", "")
    state = torch.load(file, weights_only=True)
    assert (
        torch.equal(read_vgg_weights(saved)[0]["conv5_1.weight"], state["features.24.weight"])
        and read_vgg_weights(saved)[1] == TORCHVISION_CONVENTION
    )
    assert first.encoder.relu_names[-1] == "relu5_1" and first.name == "vgg16"


def test_file_of_torchvision_is_used_if_its_checksum_is_valid(
    server_folder: Path, tmp_path: Path
) -> None:
    (file,) = server_folder.iterdir()
    downloaded = tmp_path / "home" / "hub" / "checkpoints" / file.name
    downloaded.parent.mkdir(parents=True)
    (tmp_path / "weights").mkdir()
    downloaded.write_bytes(blob := file.read_bytes())
    assert (
        load_encoder(
            VGG16, deepest_layer="relu4_2", seed=0, allow_download=False
        ).encoder.relu_names[-1]
        == "relu4_2"
    )
    (saved,) = (tmp_path / "weights").glob("*.safetensors")
    assert read_vgg_weights(saved, "vgg16")
    saved.unlink()
    downloaded.write_bytes(blob[:-1])
    with pytest.raises(CnnlabError, match=r"is damaged .its checksum differs."):
        load_encoder(VGG16, deepest_layer="relu5_1", seed=0, allow_download=False)


def test_failed_download_names_the_reason(
    server_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = server_folder.iterdir()
    file.write_bytes(file.read_bytes()[:-5] + b"12345")
    with pytest.raises(
        DataUnavailable,
        match=r"vgg16's weights cannot be downloaded .*checksum.*; put vgg16-.*\.pth into .*",
    ):
        load_encoder(VGG16, deepest_layer="relu5_1", seed=0, allow_download=True)
    monkeypatch.setenv("CNNLAB_OFFLINE", "1")
    with pytest.raises(DataUnavailable, match="CNNLAB_OFFLINE is set"):
        load_encoder(VGG16, deepest_layer="relu5_1", seed=0, allow_download=True)
    assert not (tmp_path / "weights" / "vgg16_features.safetensors").exists()


def test_random_weights_depend_on_the_seed() -> None:
    spec = EncoderSettings(name="random", weights=None, pool="average")
    first, same, other = (
        load_encoder(spec, deepest_layer="relu5_1", seed=seed, allow_download=False)
        for seed in (0, 0, 1)
    )
    assert first.sha256 == same.sha256 != other.sha256 and "random weights, seed 1" in other.name
    assert first.encoder.convention.pool == "average"


def test_hash_ignores_unused_layers(server_folder: Path, tmp_path: Path) -> None:
    (file,) = server_folder.iterdir()
    saved = tmp_path / "some.safetensors"
    save_vgg_weights(
        saved, truncate_vgg_weights(read_vgg_weights(file)[0], "conv5_1"), TORCHVISION_CONVENTION
    )
    encoders = [
        load_encoder(
            replace(VGG16, weights=str(path)), deepest_layer="relu4_2", seed=0, allow_download=False
        )
        for path in (file, saved)
    ]
    assert (
        encoders[0].sha256 == encoders[1].sha256
        and encoders[0].encoder.relu_names == encoders[1].encoder.relu_names
    )


def test_auto_prefers_vgg19_to_bundled_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CNNLAB_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    auto = EncoderSettings(name="auto", weights=None, pool=None)
    bundled = load_encoder(auto, deepest_layer="relu5_1", seed=0, allow_download=False)
    assert (bundled.name, bundled.features_name) == (
        "bundled",
        "bundled",
    ) and "no VGG-19 weights found" in str(bundled.reason)
    tensors = init_random_vgg(
        conv_channels((*CONVS_PER_BLOCK["vgg19"][:4], 1)), torch.Generator().manual_seed(0)
    )
    save_vgg_weights(tmp_path / "vgg19_features.safetensors", tensors, TORCHVISION_CONVENTION)
    loaded = load_encoder(auto, deepest_layer="relu5_1", seed=0, allow_download=False)
    assert (loaded.name, loaded.features_name) == (
        "vgg19",
        "vgg19",
    ) and loaded.reason == f"features=vgg19: weights found in {tmp_path}"
    named = load_encoder(
        replace(auto, name="bundled"), deepest_layer="relu5_1", seed=0, allow_download=False
    )
    assert named.sha256 == bundled.sha256 and named.reason is None


def test_bundled_weights_are_small_and_have_provenance() -> None:
    assert BUNDLED_WEIGHTS.stat().st_size <= 2_000_000
    with safe_open(BUNDLED_WEIGHTS, "pt") as opened:
        provenance = json.loads(opened.metadata()["made"])
        assert {opened.get_tensor(name).dtype for name in opened.keys()} == {torch.float16}  # noqa: SIM118
    assert provenance["command"][:3] == ["cnnlab", "train", "experiment=features_quarter"]
    assert (
        provenance["commit"]
        and provenance["test"]["accuracy"] > 0.2
        and provenance["seconds"] < 5400
    )
    tensors, _ = read_vgg_weights(BUNDLED_WEIGHTS)
    assert {
        name: tensor.shape[0] for name, tensor in tensors.items() if name.endswith("1.bias")
    } == {
        "conv1_1.bias": 16,
        "conv2_1.bias": 32,
        "conv3_1.bias": 64,
        "conv4_1.bias": 128,
        "conv5_1.bias": 128,
    }
