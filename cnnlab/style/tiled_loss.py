"""The loss of the output image, computed in tiles where the image is too large for one pass.

Gram matrices and distances are sums over positions, so the tiles add up to exactly the whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import torch
from torch import Tensor

from cnnlab.style.canvas import canvas_size, extend_to_canvas
from cnnlab.style.color_statistics import (
    ColorMoments,
    blend_color_moments,
    make_color_target,
    measure_color_moments,
)
from cnnlab.style.gram import at_least_float32
from cnnlab.style.guidance import (
    EVERYWHERE,
    Guidance,
    GuidedObjective,
    make_guidance,
    split_regions,
)
from cnnlab.style.loss_scales import (
    FeatureSpread,
    LayerTensors,
    TransferTargets,
    mean_pair_distance,
    measure_feature_spread,
)
from cnnlab.style.losses import LossSpec, Objective, blend_grams
from cnnlab.style.optimizers import LossFunction
from cnnlab.style.scales import Size, fit_style_size
from cnnlab.style.tiling import Tile, make_tiles
from cnnlab.style.vgg import VGGFeatures, relu_stride

# Gram matrices by layer, the spread of the content layer, and the moments of colors.
StyleStatistics = tuple[dict[str, Tensor], FeatureSpread, ColorMoments]
# By number of the style image, its size, the most pixels of a tile, and the convolutions' type.
StyleCache = dict[tuple[int, Size, int, torch.dtype], StyleStatistics]
# Gram matrices by layer of each region, and the maps of the content layer.
ImageStatistics = tuple[list[dict[str, Tensor]], Tensor]
UNTILED = 1 << 60  # pixels of a tile that any image fits into
ImageAtSize = Callable[[Size], Tensor]  # size -> (1, 3, H, W) in 0..1, on the device


@dataclass(frozen=True, kw_only=True)
class TransferLoss:
    """A network, a content image and style images.

    `margin`: pixels around the output image that are optimized with it;
    `style_sizes`: each style image's own (H, W); `style_scales`: their sides relative to the side
    at which they have the output image's area; `supersampling`: the largest scale's size relative
    to the output image's, and how much a style image is enlarged at most; `max_tile_pixels`: most
    pixels in one pass through the network, whose convolutions may be bfloat16: Gram matrices are
    float32.

    `masks`: size -> (R, 1, H, W), 1 where a style applies, of all style images or of each;
    `content_factors`: size -> (1, 1, H, W), factors of content; `wrap`: the output image's opposite
    sides are neighbors, and its sides multiples of the deepest maps' stride, without a margin.
    """

    encoder: VGGFeatures
    content: ImageAtSize
    styles: Sequence[ImageAtSize]
    style_sizes: Sequence[Size]
    style_weights: Sequence[float]
    style_scales: Sequence[float]
    spec: LossSpec
    tv_weight: float
    margin: int
    max_tile_pixels: int
    supersampling: float = 1.0
    masks: ImageAtSize | None = None
    content_factors: ImageAtSize | None = None
    wrap: bool = False
    style_cache: StyleCache = field(default_factory=dict)

    @property
    def relu_names(self) -> tuple[str, ...]:
        """Return the ReLUs that the loss needs."""
        return (*dict.fromkeys((*self.spec.layers, self.spec.content_layer)),)

    def compute_style_sizes(self, size: Size) -> list[Size]:
        """Return each style image's size for an output image of `size`."""
        return [
            fit_style_size(style_size, size, scale, self.supersampling)
            for style_size, scale in zip(self.style_sizes, self.style_scales, strict=True)
        ]

    def max_style_pixels(self, size: Size) -> int:
        """Return the pixels of the largest style image for an output image of `size`."""
        return max(height * width for height, width in self.compute_style_sizes(size))

    def canvas_pixels(self, size: Size) -> int:
        """Return the pixels that are optimized for an output image of `size`."""
        height, width = canvas_size(size, self.margin)
        return height * width

    def style_pixel_ratio(self, size: Size) -> float:
        """Return the style images' pixels together, per pixel of the canvas of `size`."""
        pixels = sum(height * width for height, width in self.compute_style_sizes(size))
        return pixels / self.canvas_pixels(size)

    def make_tiles(self, size: Size) -> list[Tile]:
        """Return the tiles of an image of `size`."""
        radius = self.encoder.receptive_radius(self.relu_names)
        alignment = relu_stride(self.spec.deepest_layer)
        return make_tiles(size, self.max_tile_pixels, radius, alignment, wrap=self.wrap)

    def compute_feature_maps(self, crop: Tensor, tile: Tile) -> LayerTensors:
        """Return the valid maps by layer of a tile with its margin, (1, 3, h, w)."""
        x = crop.contiguous(memory_format=torch.channels_last)
        maps = self.encoder(x, self.relu_names, wrap=self.wrap)
        return {
            name: tile.crop_valid(layer_maps, relu_stride(name))
            for name, layer_maps in maps.items()
        }

    def compute_grams(
        self, maps: LayerTensors, tile: Tile, size: Size, guidance: Guidance
    ) -> list[Tensor]:
        """Return the Gram matrices of a whole `size`, or a tile's part of them.

        Those of all style layers, for each region of the guidance in turn.
        """
        height, width = size
        measure, grams = self.spec.statistic.measure, list[Tensor]()
        for region, name in product(range(guidance.num_regions), self.spec.layers):
            stride = relu_stride(name)
            weights = guidance.style_weights(stride, region)
            if weights is not None:
                weights = tile.crop_whole_maps(weights, stride)
            num_positions = (height // stride) * (width // stride)
            grams.append(measure(maps[name], num_positions, weights))
        return grams

    def make_guidance(self, size: Size) -> Guidance:
        """Return the weights of the pixels of the canvas of an image of `size`."""
        masks, factors = (
            None if of_size is None else extend_to_canvas(of_size(size), self.margin)
            for of_size in (self.masks, self.content_factors)
        )
        return make_guidance(masks, factors)

    def compute_gray(self, size: Size) -> Tensor | None:
        """Return the masks' sum (1, 1, H, W), at most 1; None without masks."""
        return None if self.masks is None else self.masks(size).sum(0, keepdim=True).clamp(max=1)

    @torch.no_grad()
    def compute_statistics(self, x: Tensor, guidance: Guidance = EVERYWHERE) -> ImageStatistics:
        """Return an image's Gram matrices by layer, of each region, and its content maps."""
        layer, size, totals = self.spec.content_layer, spatial_size(x), list[Tensor]()
        height, width = (side // relu_stride(layer) for side in size)
        content = x.new_empty(1, self.encoder.num_filters(layer), height, width)
        for tile in self.make_tiles(size):
            maps = self.compute_feature_maps(tile.crop(x), tile)
            totals = add_tile_sums(totals, self.compute_grams(maps, tile, size, guidance))
            tile.crop_whole_maps(content, relu_stride(layer)).copy_(maps[layer])
        grams = split_regions(totals, guidance.num_regions)
        return [dict(zip(self.spec.layers, region, strict=True)) for region in grams], content

    def compute_targets(
        self, content: Tensor, size: Size, guidance: Guidance
    ) -> list[TransferTargets]:
        """Return what each region of an output image of `size` is compared with.

        `content`: the content image's canvas.
        """
        content_grams, P = self.compute_statistics(content, guidance)
        statistics = [
            self.get_style_statistics(number, style_size)
            for number, style_size in enumerate(self.compute_style_sizes(size))
        ]
        spread = measure_feature_spread(P)
        distances = torch.stack(
            [mean_pair_distance(spread, style_spread) for _, style_spread, _ in statistics]
        )
        targets = list[TransferTargets]()
        for region, weights in enumerate(guidance.weigh_styles(self.style_weights)):
            unrelated = distances @ P.new_tensor(weights) / sum(weights)
            A = blend_grams([grams for grams, *_ in statistics], weights)
            colors = blend_color_moments([moments for *_, moments in statistics], weights)
            target = make_color_target(colors)
            targets.append(TransferTargets(P, unrelated, A, content_grams[region], target))
        return targets

    def get_style_statistics(self, number: int, size: Size) -> StyleStatistics:
        """Return a style image's statistics at a size, computed once."""
        key = number, size, self.max_tile_pixels, self.encoder.conv_dtype
        if key not in self.style_cache:
            style = self.styles[number](size)
            (grams,), content = replace(self, wrap=False).compute_statistics(style)
            moments = measure_color_moments(style)
            self.style_cache[key] = grams, measure_feature_spread(content), moments
        return self.style_cache[key]

    def make_objective(self, size: Size) -> GuidedObjective:
        """Return the objective of an output image of `size`."""
        content = extend_to_canvas(self.content(size), self.margin)
        guidance = self.make_guidance(size)
        spec = replace(self.spec, style_weight=self.spec.style_weight * guidance.coverage)
        regions = list[Objective]()
        for region, targets in enumerate(self.compute_targets(content, size, guidance)):
            scales, pixel_weights = spec.compute_scales(targets), guidance.style_weights(1, region)
            regions.append(
                Objective(targets, scales, spec, self.tv_weight, pixel_weights, self.wrap)
            )
        return GuidedObjective(regions, guidance, None if guidance.gray is None else content)

    def compute_tile_sums(
        self, objective: GuidedObjective, crop: Tensor, tile: Tile, size: Size
    ) -> list[Tensor]:
        """Return a tile's part of |X - P|^2 and of each Gram matrix of an image of `size`."""
        maps, layer = self.compute_feature_maps(crop, tile), self.spec.content_layer
        guidance, stride = objective.guidance, relu_stride(layer)
        P, factors = tile.crop_whole_maps(objective.P, stride), guidance.content_factors(stride)
        distances = (at_least_float32(maps[layer]) - P).square()
        if factors is not None:
            distances = distances * tile.crop_whole_maps(factors, stride)
        return [distances.sum(), *self.compute_grams(maps, tile, size, guidance)]

    @torch.no_grad()
    def compute_sums(self, objective: GuidedObjective, x: Tensor) -> list[Tensor]:
        """Return |X - P|^2 and the Gram matrices of an image."""
        totals, size = list[Tensor](), spatial_size(x)
        for tile in self.make_tiles(size):
            sums = self.compute_tile_sums(objective, tile.crop(x), tile, size)
            totals = add_tile_sums(totals, sums)
        return totals

    @torch.no_grad()
    def evaluate_terms(self, objective: GuidedObjective, x: Tensor) -> Tensor:
        """Return an image's terms."""
        return objective.compute_terms(self.compute_sums(objective, x), x)

    def make_loss_function(self, objective: GuidedObjective) -> LossFunction:
        """Return canvas (1, 3 or 1, H, W) -> (terms, gradient of the loss, channels last).

        A canvas of one channel is a gray image: the gradient is that of its one value. The loss is
        that of the canvas mixed with the content image.
        """

        def evaluate(x: Tensor) -> tuple[Tensor, Tensor]:
            rgb = objective.mix_content(x.detach()).expand(-1, 3, -1, -1)
            terms, gradient = self.compute_gradient(objective, rgb)
            gradient = objective.backpropagate_mix(gradient.sum_to_size(x.shape))
            return terms, gradient.contiguous(memory_format=torch.channels_last)

        return evaluate

    def compute_gradient(self, objective: GuidedObjective, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the terms and the gradient of a canvas (1, 3, H, W)."""
        size = spatial_size(x)
        tiles = self.make_tiles(size)
        if len(tiles) > 1:
            return self.compute_tiled_gradient(objective, x, tiles)
        x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
        sums = self.compute_tile_sums(objective, x, tiles[0], size)
        terms = objective.compute_terms(sums, x)
        (gradient,) = torch.autograd.grad(terms[0], x)
        return terms.detach(), gradient

    def compute_tiled_gradient(
        self, objective: GuidedObjective, x: Tensor, tiles: Sequence[Tile]
    ) -> tuple[Tensor, Tensor]:
        """Return the terms and the gradient of an image in tiles.

        A first pass adds up the sums that the loss depends on. With the gradient with respect to
        these known, a second pass takes it back to each tile's pixels.
        """
        sums = [total.requires_grad_() for total in self.compute_sums(objective, x)]
        leaf = x.contiguous(memory_format=torch.channels_last).requires_grad_()
        terms = objective.compute_terms(sums, leaf)
        *sums_gradients, gradient = torch.autograd.grad(
            terms[0], [*sums, leaf], materialize_grads=True
        )
        for tile in tiles:
            crop = tile.crop(x).detach().requires_grad_()
            tile_sums = self.compute_tile_sums(objective, crop, tile, spatial_size(x))
            tile.add_crop(gradient, torch.autograd.grad(tile_sums, crop, sums_gradients)[0])
        return terms.detach(), gradient


def spatial_size(x: Tensor) -> Size:
    """Return (H, W) of (1, K, H, W)."""
    height, width = x.shape[2:]
    return height, width


def add_tile_sums(totals: list[Tensor], tile_sums: list[Tensor]) -> list[Tensor]:
    """Return a tile's sums added in place to the totals, if there are any yet."""
    if not totals:
        return tile_sums
    return [total.add_(tile_sum) for total, tile_sum in zip(totals, tile_sums, strict=True)]
