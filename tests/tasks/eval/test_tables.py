import torch

from cnnlab.core.display_text import count_columns
from cnnlab.engine.metrics import classification_report
from cnnlab.tasks.eval.tables import format_class_scores, format_score_table

CLASSES = ("a", "b", "c" * 60, "\u732b" * 30, "\u05e9\u05dc\u05d5\u05dd", "\x1b[31m")
LOGITS = 9 * torch.eye(6, dtype=torch.float64)[[0, 0, 1, 3, 4, 5]]


def test_class_without_test_images_has_no_scores() -> None:
    """Its 0 % beside an accuracy of 100 % would be of no image."""
    scores = classification_report(LOGITS, torch.tensor([0, 0, 1, 3, 4, 5]), CLASSES)
    table = format_score_table(scores, "folder", "test").splitlines()
    assert "accuracy 100.00%" in table[1]
    assert table[3] == "classes without test images: 1 of 6, such as cccccccccccc\u2026cccccc"
    (row,) = [line for line in table[5:] if "ccc" in line]
    assert row.split() == ["cccccccccccc\u2026cccccc", "0", "no", "test", "images"]
    assert sum("no test images" in line for line in table[5:]) == 1
    assert format_class_scores({"images": 0}, "validation") == ("", "", "no validation images")


def test_all_classes_with_images_are_not_mentioned() -> None:
    scores = classification_report(LOGITS[:3], torch.tensor([0, 0, 1]), CLASSES[:2] + CLASSES[2:])
    complete = classification_report(LOGITS[:3, :2], torch.tensor([0, 0, 1]), CLASSES[:2])
    assert "without" in format_score_table(scores, "folder", "test")
    assert "without" not in format_score_table(complete, "folder", "test")


def test_columns_are_aligned_for_names_of_any_script() -> None:
    scores = classification_report(LOGITS, torch.tensor([0, 0, 1, 3, 4, 5]), CLASSES)
    table = format_score_table(scores, "folder", "test").splitlines()[5:]
    rows = [line.replace("\u2068", "").replace("\u2069", "") for line in table]
    assert {count_columns(row) for row in rows} == {62}
