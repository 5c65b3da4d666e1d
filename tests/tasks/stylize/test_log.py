import json
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cnnlab.tasks.stylize.provenance import read_transfer_record
from tests.tasks.conftest import Stylize


def test_log_has_losses_images_and_the_result(stylize: Stylize, image_folder: Path) -> None:
    stylize()
    (log,) = (image_folder / "outputs" / "stylize").iterdir()
    events = EventAccumulator(str(log)).Reload()
    assert {"loss/content", "loss/style", "style/relu5_1"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("loss/loss")] == [2, 4, 6, 7]
    assert [event.step for event in events.Images("image")] == [3, 4, 6, 7]
    result = json.loads((log / "result.json").read_text())
    assert result["image"] == "photo_one.png"
    assert result["losses"] == read_transfer_record("photo_one.png")["losses"]
