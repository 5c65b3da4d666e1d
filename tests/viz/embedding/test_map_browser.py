"""The page of a map in a real browser, with mouse and keyboard events."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cnnlab.viz.embedding.page import PagePoints, render_map_page
from tests.chromium import PROGRAMS, Chromium, find_browser

N, BLOCK = 10_000, 7
CLASSES = ["cat", "dog", "a very long name of a class </script> that is cut"]
# Decode the number that a canvas shows as 4 x 4 blocks, black or white, in a square of it.
DECODE = """((canvas, left, top, side) => {
  const pen = canvas.getContext("2d"), block = side / 4;
  let number = 0;
  for (let bit = 0; bit < 16; bit++) {
    const x = left + (bit % 4 + .5) * block - 1.5, y = top + ((bit / 4 | 0) + .5) * block - 1.5;
    const center = pen.getImageData(Math.round(x), Math.round(y), 3, 3).data;
    const light = center.filter((v, k) => k % 4 === 0 && v > 127);
    number += (light.length > 4) << bit; }
  return number; })"""
SCREEN = "(i) => cnnlabMap.screen(i)"
CARD = f'{DECODE}(document.getElementById("image"), 0, 0, {4 * BLOCK})'


def text_of(name: str) -> str:
    return f'document.getElementById("{name}").textContent'


def make_numbered_images(n: int) -> np.ndarray:
    """Return (N, 28, 28, 1) uint8 images, each showing its index in binary as 4 x 4 blocks."""
    bits = (np.arange(n)[:, None] >> np.arange(16)) & 1
    return (255 * np.kron(bits.reshape(n, 4, 4), np.ones((BLOCK, BLOCK)))).astype(np.uint8)[
        ..., None
    ]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """Return a browser that shows a map of 10,000 points at random positions."""
    if find_browser() is None:
        pytest.skip(f"none of {', '.join(PROGRAMS)} is on the PATH")
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("map")
    labels = rng.integers(0, 3, N)
    points = PagePoints(
        make_numbered_images(N),
        {"first": rng.random((N, 2)), "second": rng.random((N, 2))},
        [f"test #{i}" for i in range(N)],
        labels,
        CLASSES,
        np.where(rng.random(N) < 0.02, (labels + 1) % 3, labels),
        rng.random(N),
        rng.integers(0, N, (N, 5)),
        {12: "near-duplicate of train #4711"},
    )
    page = folder / "map.html"
    page.write_text(render_map_page("Ten thousand", ["random"], points), encoding="utf-8")
    chromium = Chromium(folder / "profile", (1280, 800))
    chromium.call("Page.navigate", url=page.as_uri())
    chromium.wait("document.documentElement?.dataset.ready")
    yield chromium
    chromium.close()


@pytest.fixture
def page(browser: Chromium) -> Chromium:
    """Return the browser with nothing selected and the whole map in view."""
    browser.value("""for (const id of ["misclassified", "annotated"])
        if (document.getElementById(id).checked) document.getElementById(id).click();
    document.querySelector("#classes [aria-pressed=true]")?.click();
    document.getElementById("close").click();
    document.getElementById("fit").click()""")
    search(browser, "")
    return browser


def search(page: Chromium, query: str) -> str:
    """Type a query into the search box; return the number of matches as the page shows it."""
    page.value(f"""(() => {{
        const box = document.getElementById("search");
        box.value = {query!r};
        box.dispatchEvent(new Event("input")); }})()""")
    return str(page.value(text_of("count")))


def locate(page: Chromium, i: int) -> tuple[float, float]:
    """Return the position of point i on the screen after the next frame is drawn."""
    page.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    spot = page.value(f"window.cnnlabMap.screen({i})")
    return spot["x"], spot["y"]


def press_key(page: Chromium, key: str) -> None:
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key=key)


@pytest.mark.slow
def test_hover_shows_the_card_of_the_image(page: Chromium) -> None:
    print(f"ready after {page.value('document.documentElement.dataset.ready')} ms")
    for i in np.random.default_rng(1).integers(0, N, 40):
        page.mouse("mouseMoved", *locate(page, i))
        assert page.value(text_of("name")) == f"test #{i}" and page.value(CARD) == i
    page.mouse("mouseMoved", 1270, 790)
    assert page.value('document.getElementById("card").hidden')


@pytest.mark.slow
def test_wheel_zooms_at_the_pointer_to_thumbnails(page: Chromium) -> None:
    i = 4321
    (x, y), scale = locate(page, i), page.value("window.cnnlabMap.view.scale")
    mouse = np.round((x, y))  # wheel events have whole coordinates
    for _ in range(10):
        page.mouse("mouseWheel", *mouse, deltaX=0, deltaY=-200)
    position, factor = locate(page, i), page.value("window.cnnlabMap.view.scale") / scale
    assert factor > 20 and position - mouse == pytest.approx(factor * ((x, y) - mouse), abs=0.1)
    page.mouse("mouseMoved", *position)
    box = page.value('document.getElementById("map").getBoundingClientRect().toJSON()')
    side = round(0.82 * 120)  # of the largest thumbnail, within its frame
    corner = f"{position[0] - box['x'] - side / 2}, {position[1] - box['y'] - side / 2}"
    assert page.value(f'{DECODE}(document.getElementById("map"), {corner}, {side})') == i


@pytest.mark.slow
def test_click_pins_the_card_and_neighbors_are_links(page: Chromium) -> None:
    page.click(*locate(page, 12))
    assert (
        page.value("location.hash") == "#12"
        and page.value(text_of("note")) == "near-duplicate of train #4711"
    )
    page.mouse("mouseMoved", *locate(page, 4000))
    assert page.value(text_of("name")) == "test #12"
    page.value('document.querySelector("#neighbors button:nth-child(2)").click()')
    neighbor = page.value("+location.hash.slice(1)")
    assert (
        neighbor != 12
        and page.value(text_of("name")) == f"test #{neighbor}"
        and page.value(CARD) == neighbor
    )
    page.value('location.hash = "#77"')
    page.wait(f'{text_of("name")} === "test #77"')
    assert page.value(CARD) == 77
    press_key(page, "Escape")
    assert (
        page.value('document.getElementById("card").hidden') and page.value("location.hash") == ""
    )


@pytest.mark.slow
def test_address_opens_at_its_image(page: Chromium) -> None:
    page.value('history.replaceState(null, "", "#9876")')
    page.call("Page.reload")
    page.wait("document.documentElement?.dataset.ready && window.cnnlabMap")
    middle = page.value("""(() => {
        const box = document.getElementById("map").getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2]; })()""")
    assert locate(page, 9876) == pytest.approx(middle, abs=1)
    assert page.value(text_of("name")) == "test #9876" and page.value(CARD) == 9876


@pytest.mark.slow
def test_filters_count_and_step_through_matches(page: Chromium) -> None:
    assert page.value(text_of("count")) == "10,000 images"
    assert search(page, "test #12") == "1 of 10,000 images match"
    assert search(page, "#123") == "11 of 10,000 images match"
    dogs = int(search(page, "DOG").split(" ")[0].replace(",", ""))
    search(page, "")
    page.value('document.querySelector("#classes button:nth-child(2)").click()')
    assert page.value(text_of("count")) == f"{dogs:,} of 10,000 images match" and 3000 < dogs < 3700
    page.value('document.getElementById("misclassified").click()')
    assert 0 < int(page.value(text_of("count")).split(" ")[0]) < 120
    press_key(page, "n")
    assert page.value(text_of("label")) == "label: \u2068dog\u2069"
    assert "misclassified" in page.value(text_of("prediction"))


@pytest.mark.slow
def test_map_button_moves_the_points(page: Chromium) -> None:
    before = locate(page, 5)
    page.value('document.querySelector("#maps button:nth-child(2)").click()')
    page.wait("new Promise((done) => setTimeout(() => done(true), 1200))")
    assert locate(page, 5) != pytest.approx(before, abs=1)
    page.mouse("mouseMoved", *locate(page, 5))
    assert page.value(text_of("name")) == "test #5" and page.value(CARD) == 5


@pytest.mark.slow
def test_page_makes_no_requests_and_logs_no_errors(page: Chromium) -> None:
    requested = [
        event["params"]["request"]["url"]
        for event in page.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert requested and all(
        url.startswith(("data:", "blob:")) or url.split("#")[0].endswith("map.html")
        for url in requested
    )
    messages = [
        event["params"]
        for event in page.events
        if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")
    ]
    assert not [
        message for message in messages if message.get("entry", {}).get("source") != "rendering"
    ], messages


@pytest.mark.slow
def test_names_cover_no_tight_cluster_and_no_edge_cuts_a_thumbnail(
    browser: Chromium, tmp_path: Path
) -> None:
    """Three clusters of 20 images, each far smaller than the name of its class. This is the last
    test here, because it leaves the page of the others."""
    centers = np.array([[0, 0], [0.1, 1], [1, 0.2]])
    labels = np.arange(3).repeat(20)
    coordinates = centers[labels] + np.random.default_rng(0).normal(0, 0.004, (60, 2))
    names, images = [f"#{i}" for i in range(60)], make_numbered_images(60)
    points = PagePoints(images, {"map": coordinates}, names, labels, CLASSES)
    file = tmp_path / "tight.html"
    file.write_text(render_map_page("Tight", [], points), encoding="utf-8")
    browser.call("Page.navigate", url=file.as_uri())
    browser.wait("document.title === 'Tight' && document.documentElement?.dataset.ready")
    top = browser.value("document.getElementById('field').getBoundingClientRect().top")
    boxes = browser.value("cnnlabMap.getNames()")
    at = np.array([[p["x"], p["y"]] for p in browser.value(f"[...Array(60).keys()].map({SCREEN})")])
    at[:, 1] -= top
    assert len(boxes) == 3 and at.min() > 10
    for box in boxes:
        inside = (abs(at - [box["x"], box["y"]]) < [box["halfWidth"], 10]).all(1)
        assert not inside.any(), box
