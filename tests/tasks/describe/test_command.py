import json
from pathlib import Path

import pytest

from cnnlab.config import list_groups
from tests.conftest import Cnnlab

CONV = ["w=5", "h=5", "d=3", "e=3", "s=2", "p=1", "k=2"]


@pytest.mark.parametrize("name", list_groups()["model"])
def test_every_model_fits_80_columns_and_writes_nothing(
    cnnlab: Cnnlab, here: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Without data, offline."""
    monkeypatch.setenv("CNNLAB_DATA", str(here / "empty"))
    monkeypatch.setenv("CNNLAB_OFFLINE", "1")
    code, out, err = cnnlab("describe", f"model={name}", "formulas=true")
    assert (code, err) == (0, "") and not list(here.iterdir())
    assert max(map(len, out.splitlines())) <= 80 and all(
        word in out for word in ("receptive field", "FLOPs", "largest")
    )
    assert ("VGGNet takes about 90 MB" in out) == name.startswith("vgg")


def test_vgg16_totals(cnnlab: Cnnlab, here: Path) -> None:
    code, out, _ = cnnlab("describe", "model=vgg16", "--json")
    report = json.loads(out)
    totals, layers = report["totals"], {layer["name"]: layer for layer in report["layers"]}
    assert code == 0 and report["input"] == [3, 224, 224]
    assert (totals["parameters"], totals["multiply_adds"]) == (138_357_544, 15_470_264_320)
    assert (
        totals["flops"]
        == 2 * totals["multiply_adds"]
        == sum(layer["flops"] for layer in layers.values())
    )
    # Each map of the paper's table once, 4 bytes a number: convolutions, poolings, units; and
    # dropout's two outputs.
    maps = (
        2 * 64 * 224**2
        + 64 * 112**2
        + 2 * 128 * 112**2
        + 128 * 56**2
        + 3 * 256 * 56**2
        + 256 * 28**2
    )
    maps += 3 * 512 * 28**2 + 512 * 14**2 + 3 * 512 * 14**2 + 512 * 7**2 + 2 * 4096 + 1000
    assert (
        totals["forward_bytes"] == 4 * (maps + 2 * 4096) and 60e6 < totals["forward_bytes"] < 61e6
    )
    assert layers["conv1_2"]["receptive_field"] == [5, 5] and layers["pool5"][
        "receptive_field"
    ] == [212, 212]
    assert totals["saved_for_backward_bytes"] == sum(
        layer["saved_for_backward_bytes"] for layer in layers.values()
    )


def test_a_run_is_described_by_its_own_configuration(
    cnnlab: Cnnlab, tiny_run: Path, here: Path
) -> None:
    code, out, err = cnnlab("describe", str(tiny_run), "--json")
    report = json.loads(out)
    assert (code, err) == (0, "") and report["layers"][0]["output"] == [4, 8, 8]
    code, out, _ = cnnlab("describe", str(tiny_run), "batch_size=7")
    assert (
        code == 0 and "for a batch of 7:" in out and f"{report['totals']['parameters']:,}: " in out
    )
    code, _, err = cnnlab("describe", str(tiny_run), "model=mnist_cnn")
    assert code == 2 and err.startswith(
        "cnnlab: a run has its own model: with it describe takes layer, formulas"
    )
    assert not list(here.iterdir())


def test_input_shape_follows_dataset_and_pipeline(cnnlab: Cnnlab, here: Path) -> None:
    for overrides, size in (
        (["model=cifar_bn"], [3, 24, 24]),
        (["model=vgg16", "dataset=cifar10"], [3, 32, 32]),
        (["model=mnist_cnn", "dataset=folder", "dataset.size=40"], [3, 40, 40]),
    ):
        assert json.loads(cnnlab("describe", *overrides, "--json")[1])["input"] == size


def test_classes_are_counted_in_a_folder(cnnlab: Cnnlab, here: Path) -> None:
    for name in ("a", "b", "c"):
        (here / "photos" / name).mkdir(parents=True)
        (here / "photos" / name / "1.png").write_bytes(b"never read")
    output = cnnlab("describe", "model=alexnet", "dataset.root=photos")[1]
    assert "224x224x3, 3 classes\n" in output
    assert "1,000 classes as ImageNet (no dataset.root)" in cnnlab("describe", "model=alexnet")[1]


def test_convolution_of_figures_5_11_and_5_12(cnnlab: Cnnlab, here: Path) -> None:
    code, out, err = cnnlab("describe", "conv", *CONV)
    assert (code, err) == (0, "") and out.startswith("convolution: 5x5x3 -> 3x3x2\n")
    assert json.loads(cnnlab("describe", "conv", *CONV, "--json")[1])["output"] == [3, 3, 2]
    assert (
        "no filter covers the last row"
        in cnnlab("describe", "pool", "w=4", "h=5", "d=1", "e=2", "s=2")[1]
    )
    assert not list(here.iterdir())


def test_formulas_of_one_layer_note_rounding(cnnlab: Cnnlab, here: Path) -> None:
    code, out, _ = cnnlab("describe", "model=alexnet", "layer=conv1")
    assert code == 0 and out.startswith("conv1, convolution: 224x224x3 -> 55x55x64")
    assert "PyTorch rounds down: 55x55 where the chapter has 56x56" in out
    assert "* conv1: the chapter rounds up, to 56x56" in cnnlab("describe", "model=alexnet")[1]


def test_growth_writes_figure_and_numbers(cnnlab: Cnnlab, here: Path) -> None:
    code, out, err = cnnlab("describe", "growth", "growth.sizes=[28,200]")
    (folder,) = (here / "outputs" / "describe").iterdir()
    assert (
        (code, err) == (0, "")
        and f"{folder.name}/growth.png" in out
        and "120,000 at 200x200x3" in out
    )
    report = json.loads((folder / "growth.json").read_text())
    assert report["fully_connected"] == [64 * (28 * 28 * 3 + 1), 64 * (120_000 + 1)]
    assert (
        report["convolutional"] == [64 * 76] * 2 and (folder / "growth.png").stat().st_size > 5000
    )
    assert (
        cnnlab("describe", "growth", "figure=mine.png", "--json")[0] == 0
        and (here / "mine.png").exists()
    )


def test_figure_writes_svg_and_png(cnnlab: Cnnlab, here: Path) -> None:
    code, out, _ = cnnlab("describe", "model=cifar_bn", "figure=it is.svg")
    assert code == 0 and out.endswith("figure: it is.svg, it is.png\n")
    assert sorted(path.name for path in here.iterdir()) == ["it is.png", "it is.svg"]
    assert "12x12x64" in (here / "it is.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mnist_cnn"], "'mnist_cnn' is not a run; for a network say model=mnist_cnn"),
        (["model=mnist_cn"], "model 'mnist_cn' is not one of alexnet, "),
        (["lst"], "no run lst; `cnnlab runs` lists what there is; did you mean last?"),
        (["<b>\x1b[1m"], "no run <b>\\x1b[1m; `cnnlab runs` lists what there is"),
        (["a", "b\x1b"], "describe takes one of conv, pool, growth or a run, not a, b\\x1b"),
        (
            ["model=mnist_cnn", "layer=conv_1.cov"],
            "layer 'conv_1.cov' is not one of conv_1.conv, conv_1.pool, ",
        ),
        (
            ["formula=true"],
            "unknown key formula; did you mean formulas? "
            "`cnnlab describe --cfg job` shows all keys",
        ),
        (["cov", *CONV], "w=5 is of one layer: `cnnlab describe conv w=5 ...`, or pool"),
        (["conv", "x=5"], "unknown key conv.x; conv takes w, h, d, e, s, p, k"),
        (["pool", "w=5"], "pool.h is missing; it must be a whole number"),
        (["growth", "growth.kernel_size=0"], "growth: kernel_size must be at least 1, not 0"),
        (["model=vgg16", "dataset.size=16"], "model: nothing is left of 16x16 pixels before fc6"),
        (
            ["model=vgg16", "dataset.depth=2"],
            "dataset: depth must be 1 (gray) or 3 (color), not 2",
        ),
        (["resume=last"], "resume and init are keys of training"),
        (["figure=."], "figure=. is a folder; name a file in it"),
        (
            ["conv", *CONV, "figure=x.svg"],
            "figure= draws a network or growth; conv is one layer",
        ),
    ],
)
def test_errors_are_one_line(
    cnnlab: Cnnlab, here: Path, arguments: list[str], message: str
) -> None:
    code, out, err = cnnlab("describe", *arguments)
    assert (
        (code, out) == (2, "")
        and err.startswith(f"cnnlab: {message}")
        and len(err.splitlines()) == 1
    )
    assert not list(here.iterdir())


def test_an_unwritable_figure_is_one_line(cnnlab: Cnnlab, here: Path) -> None:
    code, _, err = cnnlab("describe", "figure=nowhere/x.svg")
    assert code == 1 and err == "cnnlab: cannot write nowhere/x.svg: No such file or directory\n"
