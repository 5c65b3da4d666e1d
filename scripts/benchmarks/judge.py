"""Judge stylized images by their files, with networks that no program here stylizes with.

`style left` is the distance of the Gram matrices to those of the style image, relative to the
content image's: 1 the content image, 0 the style image, mean over layers. `content` is the mean
squared distance of the features of a middle layer to the content image's, relative to that of
unrelated positions of content and style image: 0 the content image, 1 nothing of it.

SqueezeNet 1.1 judges, and the first eight convolutions of the full-width VGG-19. The latter is not
independent of vgg19_quarter, which was distilled from it. The content image is resized to the
output image's size. The style image is resized to the area of the output image, as cnnlab does,
and to its longer side, as style-transfer-pytorch does, without being enlarged; scores are the mean
of both.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.features import SQUEEZENET_LAYERS, load_squeezenet, relative_style_distance
from benchmarks.harness import Table, print_machine

SQUEEZENET_CONTENT_LAYER = 7  # the last at a stride of 8, as relu4_2 is
VGG_LAYERS, VGG_CONTENT_LAYER = ("relu1_1", "relu2_1", "relu3_1"), "relu3_3"
Scores = dict[str, dict[str, float]]  # judge -> {"style_left": ..., "content": ...}


@dataclass(frozen=True)
class Judge:
    """A network that judges: (1, 3, H, W) in 0..1 and layers -> their maps, by layer."""

    compute_maps: Callable[[Any, Any], dict[Any, Any]]
    style_layers: tuple[Any, ...]
    content_layer: Any

    def compute_grams(self, x: Any) -> list[Any]:
        from cnnlab.style.gram import gram_matrix

        maps = self.compute_maps(x, self.style_layers)
        return [gram_matrix(maps[layer]) for layer in self.style_layers]

    def measure_content(self, image: Any, content: Any, style: Any) -> float:
        """Return |F - P|^2 relative to that of unrelated positions of content and style image."""
        from cnnlab.style.loss_scales import mean_pair_distance, measure_feature_spread

        F, P, S = (
            self.compute_maps(x, [self.content_layer])[self.content_layer]
            for x in (image, content, style)
        )
        unrelated = mean_pair_distance(measure_feature_spread(P), measure_feature_spread(S))
        return float((F - P).square().sum(1).mean() / unrelated)

    def score(self, image: Any, content: Any, style: Any) -> dict[str, float]:
        """Return the style left and the content distance of (1, 3, H, W) images in 0..1."""
        import torch

        with torch.inference_mode():
            return {
                "style_left": relative_style_distance(self.compute_grams, image, content, style),
                "content": self.measure_content(image, content, style),
            }


def load_judges(weights: Path) -> dict[str, Judge]:
    """Return the judges by name. `weights`: the folder of their files."""
    from cnnlab.style.vgg import VGGFeatures
    from cnnlab.style.vgg_weights import read_vgg_weights

    vgg = VGGFeatures(*read_vgg_weights(weights / "vgg19_conv1_1_to_conv3_4.safetensors"))
    return {
        "squeezenet": Judge(load_squeezenet(weights), SQUEEZENET_LAYERS, SQUEEZENET_CONTENT_LAYER),
        "vgg19": Judge(vgg, VGG_LAYERS, VGG_CONTENT_LAYER),
    }


def judge_file(judges: dict[str, Judge], image: Path, content: Path, style: Path) -> Scores:
    """Return each judge's scores of an image file."""
    from cnnlab.style.scales import fit_size, fit_style_size
    from cnnlab.style.source_image import image_to_tensor, read_source_image

    output, P, A = (read_source_image(str(path), 10**9) for path in (image, content, style))
    sizes = fit_style_size(A.size, output.size, 1.0), fit_size(A.size, max(output.size))
    x, p = (image_to_tensor(source.resize(output.size)) for source in (output, P))
    styles = [image_to_tensor(A.resize(size)) for size in sizes]
    scores = {}
    for name, judge in judges.items():
        both = [judge.score(x, p, a) for a in styles]
        scores[name] = {key: mean(values[key] for values in both) for key in both[0]}
    return scores


def add_folder_option(parser: argparse.ArgumentParser, name: str, variable: str) -> None:
    """Add an option for a folder, by default that of an environment variable."""
    default = Path(os.environ.get(variable, name))
    help = f"folder of the {name}; default: {variable}"
    parser.add_argument(f"--{name}", type=Path, default=default, help=help)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("outputs", type=Path, nargs="+", help="image files to judge")
    for name in ("content", "style"):
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"the {name} image's file")
    add_folder_option(parser, "weights", "CNNLAB_WEIGHTS")


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    print_machine(f"{options.content.name} in the style of {options.style.name}")
    judges, rows = load_judges(options.weights), list[dict[str, Any]]()
    table = Table("image", *(f"{key} by {name}" for name in judges for key in ("style", "content")))
    for path in options.outputs:
        scores = judge_file(judges, path, options.content, options.style)
        rows.append({"image": str(path), "scores": scores})
        cells = [format_scores(values) for values in scores.values()]
        table.add(path.name, *(cell for pair in cells for cell in pair))
    return rows


def format_scores(values: dict[str, float]) -> tuple[str, str]:
    """Return the style left and the content distance as they are printed."""
    return f"{values['style_left']:.3f}", f"{values['content']:.3f}"
