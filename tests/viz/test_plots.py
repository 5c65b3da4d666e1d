import numpy as np
import pytest
from matplotlib.figure import Figure

from cnnlab.viz import plots
from cnnlab.viz.curves import MeanCurve, plot_learning_curves, plot_parameter_growth
from cnnlab.viz.plots import (
    draw_captioned_images,
    draw_image_strips,
    plot_confusion_matrix,
    plot_reliability_diagram,
)


def count_colors(image: np.ndarray) -> int:
    return len(np.unique(image.astype(np.uint32) @ (1, 1 << 8, 1 << 16)))


def test_figures_are_images_with_content() -> None:
    counts = np.array([[5, 1, 0], [0, 7, 2], [0, 0, 0]])
    bins = {"count": [0, 3, 9], "confidence": [0.0, 0.5, 0.9], "accuracy": [0.0, 0.3, 1.0]}
    images = np.random.default_rng(0).integers(0, 255, (4, 8, 8, 3), dtype=np.uint8)
    for figure in (
        plot_confusion_matrix(counts, ["cat", "a name that is long", "dog"], "three mistakes"),
        plot_reliability_diagram({"error": 0.1, "bins": bins}, "off by 10 %"),
        draw_captioned_images(images, ["a\nb"] * 4, "four"),
        draw_captioned_images(images[:1, ..., :1], ["a\nb"], "one, gray"),
        draw_image_strips([("three", images[:3]), ("gray", images[:2, ..., :1])], "strips"),
        plot_parameter_growth([8, 16], [100, 400], [10, 10], "growth"),
    ):
        assert figure.dtype == np.uint8 and figure.ndim == 3 and figure.shape[2] == 3
        assert min(figure.shape[:2]) > 150 and count_colors(figure) > 20


def test_mistakes_are_orange_and_the_diagonal_is_blue() -> None:
    figure = plot_confusion_matrix([[9, 0], [4, 0]], ["a", "b"], "").astype(int)
    red, _, blue = figure.reshape(-1, 3).T
    assert (red - blue > 80).sum() > 1000, "the cell of four mistakes"
    assert (blue - red > 40).sum() > 1000, "the cell of nine right"


def test_two_hundred_classes_fit() -> None:
    figure = plot_confusion_matrix(
        np.eye(200, dtype=int), [f"class {k}" for k in range(200)], "all right"
    )
    assert max(figure.shape[:2]) < 1600


def test_a_curve_of_one_point_is_visible() -> None:
    """A run of one epoch has one validation; its panel was empty once."""

    def count_blue(curves: list[MeanCurve]) -> int:
        image = plot_learning_curves([("error", curves)], "a title").astype(int)
        return int((abs(image - [0x00, 0x72, 0xB2]).sum(-1) < 30).sum())

    legend_only = count_blue([MeanCurve("one", (), (), (), (), ())])  # its line in the legend
    assert count_blue([MeanCurve("one", (351,), (44.0,), *[(57.8,)] * 3)]) > legend_only + 40
    assert (
        count_blue([MeanCurve("one", (1, 9), (1.0, 9.0), (50.0, 40.0), (49.0, 39.0), (51.0, 41.0))])
        > legend_only + 400
    )


def test_class_without_images_is_marked_in_the_confusion_matrix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An empty row looks like one in which every count is zero by merit."""
    figures: list[Figure] = []
    draw = plots.render_figure
    monkeypatch.setattr(
        plots, "render_figure", lambda figure: figures.append(figure) or draw(figure)
    )
    plot_confusion_matrix([[3, 1, 0], [0, 0, 0], [0, 0, 2]], ("a", "b", "c"), "t")
    texts = {text.get_text(): text.get_position() for text in figures[0].axes[0].texts}
    assert texts["no images"] == (1, 1) and set(texts) == {"3", "1", "2", "no images"}
