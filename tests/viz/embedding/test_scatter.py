import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from cnnlab.viz.embedding import scatter
from cnnlab.viz.embedding.layout import CLASS_PALETTE, get_class_color
from cnnlab.viz.embedding.scatter import low_discrepancy_order, plot_embedding

RNG = np.random.default_rng(0)
LABELS = np.repeat(np.arange(4), 50)
Y = np.array([[-30, 0], [30, 0], [0, 20], [0, -20]])[LABELS] + RNG.normal(size=(200, 2))
CLASSES = ("car", "boat", "cat", "dog")
FEW = np.arange(200) % 20 == 3


def count_color(image: np.ndarray, code: str, tolerance: int = 30) -> int:
    """Return the number of pixels within `tolerance` of a color."""
    color = [int(code[i : i + 2], 16) for i in (1, 3, 5)]
    return int((abs(image.astype(int) - color).sum(-1) <= tolerance).sum())


def test_each_class_has_its_color_at_its_position() -> None:
    image = plot_embedding({"map": Y}, LABELS, CLASSES, title="four apart")
    high, wide = image.shape[:2]
    assert (
        count_color(image[:, : wide // 3], get_class_color(0), 90)
        > 100
        > count_color(image[:, wide // 3 :], get_class_color(0), 90)
    )
    assert (
        count_color(image[: high // 3], get_class_color(2), 90)
        > 100
        > count_color(image[high // 3 :], get_class_color(2), 90)
    ), "y is upwards"


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that the test draws, in order."""
    figures: list[Figure] = []
    draw = scatter.render_figure
    monkeypatch.setattr(
        scatter, "render_figure", lambda figure: figures.append(figure) or draw(figure)
    )
    return figures


def test_marks_and_legend_are_drawn_only_where_needed(figures: list[Figure]) -> None:
    plain = plot_embedding({"map": Y}, LABELS, CLASSES, title="t")
    none = plot_embedding(
        {"map": Y}, LABELS, CLASSES, is_misclassified=np.zeros(200, bool), title="t"
    )
    assert np.array_equal(plain, none)
    for mark, code in (
        ("is_misclassified", "#000000"),
        ("is_near_duplicate", "#FF7F00"),
        ("is_user_image", "#FFE100"),
    ):
        marked = plot_embedding({"map": Y}, LABELS, CLASSES, title="t", **{mark: FEW})
        assert count_color(marked, code) > count_color(plain, code) + 100, mark
    texts = [[text.get_text() for text in figure.axes[0].texts] for figure in figures]
    legend_counts = [sum("(10)" in text for text in figure_texts) for figure_texts in texts]
    assert legend_counts == [0, 0, 1, 1, 1]
    assert "near-duplicate (10)" in texts[3]


def test_class_names_do_not_overlap_and_stay_inside(figures: list[Figure]) -> None:
    """Forty overlapping classes with names in mathematics, markup and right-to-left script."""
    classes = [f"$x_{k}$\nשלום <b>{k}" for k in range(40)]
    labels = np.arange(400) % 40
    plot_embedding(
        {"map": RNG.normal(size=(400, 2))}, labels, classes, title="$a$" * 40, note="n $ " * 200
    )
    (figure,) = figures
    renderer = figure.canvas.get_renderer()
    extents = {t.get_text(): t.get_window_extent(renderer) for t in figure.axes[0].texts}
    boxes = [extent for text, extent in extents.items() if text.startswith(r"\$x_")]
    (note,) = (extent for text, extent in extents.items() if "names are left out" in text)
    assert len(boxes) > 15 and min(box.y0 for box in boxes) > note.y1, "no name hides the note"
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert f"{40 - len(boxes)} of 40 class names are left out: they would hide the points" in texts
    for i, box in enumerate(boxes):
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1
        for other in boxes[i + 1 :]:
            across = min(box.x1, other.x1) - max(box.x0, other.x0)
            down = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert across <= 0 or down <= 0


def test_two_maps_are_side_by_side_in_the_same_colors() -> None:
    image = plot_embedding({"one": Y, "$other": Y[:, ::-1]}, LABELS, CLASSES, title="two networks")
    for panel in np.array_split(image, 2, axis=1):
        assert all(count_color(panel, get_class_color(k), 90) > 60 for k in range(4))


@pytest.mark.parametrize(
    ("y", "labels"),
    [
        (RNG.normal(size=(5, 2)), np.full(5, -1)),
        (np.zeros((5, 2)), np.zeros(5, int)),
        (RNG.normal(size=(9, 2)) * [1, 0], np.arange(9) * 12 - 1),
    ],
)
def test_degenerate_maps_are_drawn_reproducibly(y: np.ndarray, labels: np.ndarray) -> None:
    classes = [f"c{k}" for k in range(100)]
    first, second = (plot_embedding({"m": y}, labels, classes, title="t") for _ in range(2))
    assert np.array_equal(first, second) and len(np.unique(first)) > 20


def test_few_correct_images_are_ringed_where_most_are_misclassified(figures: list[Figure]) -> None:
    """Rings around nearly all points would show nothing and hide the classes."""
    for mask in (FEW, ~FEW, np.ones(200, bool)):
        plot_embedding({"map": Y}, LABELS, CLASSES, is_misclassified=mask, title="t")
    texts = [{text.get_text() for text in figure.axes[0].texts} for figure in figures]
    assert "misclassified (10)" in texts[0] and "classified correctly (10)" in texts[1]
    assert "classified correctly (0)" in texts[2]
    rings = [
        [len(points.get_offsets()) for points in figure.axes[0].collections if has_rings(points)]
        for figure in figures
    ]
    assert rings == [[10, 1], [10, 1], [1]], "on the map, and in the legend"


def has_rings(points: PathCollection) -> bool:
    return len(points.get_facecolor()) == 0


def test_drawing_order_mixes_classes() -> None:
    """In order of the classes, the points of the last class would be on top."""
    order = low_discrepancy_order(1000)
    assert sorted(order) == list(range(1000))
    assert all(abs((part < 500).mean() - 0.5) < 0.05 for part in np.array_split(order, 10))
    assert len(CLASS_PALETTE) == 10


def test_each_map_marks_the_errors_of_its_own_network() -> None:
    none, all_images = np.zeros(200, bool), np.ones(200, bool)
    maps = {"one": Y, "two": Y}
    plain = plot_embedding(
        maps, LABELS, CLASSES, is_misclassified=np.stack([none, none]), title="t"
    )
    second = plot_embedding(
        maps, LABELS, CLASSES, is_misclassified=np.stack([none, all_images]), title="t"
    )
    middle, high = plain.shape[1] // 2, plain.shape[0]
    assert np.array_equal(plain[: high - 60, :middle], second[: high - 60, :middle])
    assert not np.array_equal(plain[: high - 60, middle:], second[: high - 60, middle:])
