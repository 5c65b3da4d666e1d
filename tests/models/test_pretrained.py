import hashlib
import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torchvision import models

from cnnlab.core.errors import CnnlabError, DataUnavailable, UsageError
from cnnlab.models.pretrained import SUGGESTED_NETWORKS, load_pretrained


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the path, not yet there, of a random ResNet-18 in torch's folder of weights; a server
    has the file."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CNNLAB_OFFLINE", raising=False)
    torch.manual_seed(0)
    server_folder = tmp_path / "server"
    server_folder.mkdir()
    torch.save(models.resnet18(num_classes=1000).state_dict(), server_folder / "weights.pth")
    digest = hashlib.sha256((server_folder / "weights.pth").read_bytes()).hexdigest()
    name = f"resnet18-{digest[:8]}.pth"
    os.rename(server_folder / "weights.pth", server_folder / name)  # noqa: PTH104
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(server_folder)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    real = models.ResNet18_Weights.DEFAULT
    url = f"http://127.0.0.1:{server.server_port}/{name}"
    fake = SimpleNamespace(
        DEFAULT=SimpleNamespace(url=url, meta={"_file_size": 44.7}, transforms=real.transforms)
    )
    monkeypatch.setattr(models, "get_model_weights", lambda name: fake)
    yield tmp_path / "home" / "hub" / "checkpoints" / name
    server.shutdown()


def test_weights_are_downloaded_once_and_match_torchvision(
    hub: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, prepare = load_pretrained("resnet18")
    assert "features=resnet18: weights of 47 MB, once" in capsys.readouterr().out and hub.exists()
    images = torch.randint(0, 256, (2, 3, 40, 50), dtype=torch.uint8)
    torch.manual_seed(0)
    reference = models.resnet18(num_classes=1000).eval()
    expected = models.ResNet18_Weights.DEFAULT.transforms()(images)
    assert torch.equal(prepare(images), expected) and expected.shape == (2, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(model(expected), reference(expected))
    gray = images[:, :1]
    assert torch.equal(prepare(gray), prepare(gray.repeat(1, 3, 1, 1)))
    stamp = hub.stat().st_mtime_ns
    load_pretrained("resnet18")
    assert hub.stat().st_mtime_ns == stamp and "once" not in capsys.readouterr().out


def test_damaged_wrong_or_missing_weights_are_named(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_pretrained("resnet18")
    with pytest.raises(CnnlabError, match=r"not the weights of resnet34"):
        load_pretrained("resnet34")
    hub.write_bytes(hub.read_bytes()[:-1])
    with pytest.raises(CnnlabError, match=r"its checksum differs"):
        load_pretrained("resnet18")
    hub.unlink()
    monkeypatch.setenv("CNNLAB_OFFLINE", "1")
    with pytest.raises(DataUnavailable, match=rf"put {hub.name} into {hub.parent}"):
        load_pretrained("resnet18")
    with pytest.raises(UsageError, match=r"did you mean resnet18"):
        load_pretrained("resnet_18")
    with pytest.raises(UsageError, match=r"alexnet, .* and others"):
        load_pretrained("qqqq")


def test_suggested_networks_are_torchvisions() -> None:
    assert set(SUGGESTED_NETWORKS) <= set(models.list_models(module=models))
