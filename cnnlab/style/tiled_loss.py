"""What a network sees of the pictures, and the loss of what is painted: in pieces, where a picture is too large to be
looked at in one go. Gram matrices and distances are sums over places, so that pieces add up to exactly the whole."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cnnlab.style.losses import (
    FeatureSpread,
    LayerTensors,
    LossSpec,
    Objective,
    TransferTargets,
    at_least_float32,
    blend_grams,
    gram_matrix,
    mean_pair_distance,
    measure_feature_spread,
)
from cnnlab.style.optimizers import LossFunction
from cnnlab.style.scales import Size, fit_style_size
from cnnlab.style.tiling import Tile, make_tiles
from cnnlab.style.vgg import VGGFeatures, relu_stride

StyleStatistics = tuple[
    dict[str, Tensor], FeatureSpread
]  # Gram matrices by layer, and the content's layer
StyleCache = dict[
    tuple[int, Size, int], StyleStatistics
]  # paintings that were looked at: which, at what size, in what pieces
UNTILED = 1 << 60  # a piece that any picture fits into
ImageAtSize = Callable[[Size], Tensor]  # a picture at a size, (1, 3, H, W) in 0..1, on the device


@dataclass(frozen=True, kw_only=True)
class TransferLoss:
    """A network and what it paints from. `style_sizes`: each painting's own (H, W); `style_weights`: what each counts;
    `style_scale`: a painting's side as a share of what gives it the picture's area (it is never enlarged)."""

    encoder: VGGFeatures
    content: ImageAtSize
    styles: Sequence[ImageAtSize]
    style_sizes: Sequence[Size]
    style_weights: Sequence[float]
    style_scale: float
    spec: LossSpec
    tv_weight: float
    dtype: torch.dtype  # of the convolutions; Gram matrices are float32
    max_tile_pixels: int  # pixels that the network may look at in one go
    style_cache: StyleCache = field(default_factory=dict)

    @property
    def relu_names(self) -> tuple[str, ...]:
        """The ReLUs that must be known."""
        return (*dict.fromkeys((*self.spec.layers, self.spec.content_layer)),)

    def compute_style_sizes(self, size: Size) -> list[Size]:
        """Each painting's size beside a picture's."""
        return [fit_style_size(own, size, self.style_scale) for own in self.style_sizes]

    def max_style_pixels(self, size: Size) -> int:
        """The pixels of the largest of them."""
        return max(height * width for height, width in self.compute_style_sizes(size))

    def style_pixel_ratio(self, size: Size) -> float:
        """The pixels of the paintings that are looked at beside a picture's of a size, as a share of these."""
        return sum(height * width for height, width in self.compute_style_sizes(size)) / (
            size[0] * size[1]
        )

    def make_tiles(self, size: Size) -> list[Tile]:
        """How a picture of a size is looked at."""
        return make_tiles(
            size,
            self.max_tile_pixels,
            self.encoder.receptive_radius(self.relu_names),
            relu_stride(self.spec.deepest_layer),
        )

    def compute_feature_maps(self, part: Tensor, piece: Tile) -> LayerTensors:
        """The maps that count of what is looked at of a picture, (1, 3, h, w)."""
        with torch.autocast(part.device.type, self.dtype, enabled=self.dtype is not torch.float32):
            found = self.encoder(
                part.contiguous(memory_format=torch.channels_last), self.relu_names
            )
        return {name: piece.crop_valid(one, relu_stride(name)) for name, one in found.items()}

    def compute_grams(self, maps: LayerTensors, size: Size) -> list[Tensor]:
        """The aim's layers' Gram matrices: of a piece of a picture of that size, its part of them."""
        height, width = size
        return [
            gram_matrix(maps[name], (height // relu_stride(name)) * (width // relu_stride(name)))
            for name in self.spec.layers
        ]

    @torch.no_grad()
    def compute_statistics(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """A picture's Gram matrices by layer, and its maps at the content's layer."""
        layer, size, totals = self.spec.content_layer, spatial_size(x), list[Tensor]()
        height, width = (side // relu_stride(layer) for side in size)
        content = x.new_empty(1, self.encoder.num_filters(layer), height, width)
        for piece in self.make_tiles(size):
            maps = self.compute_feature_maps(piece.crop(x), piece)
            totals = add_tile_sums(totals, self.compute_grams(maps, size))
            piece.crop_whole_maps(content, relu_stride(layer)).copy_(maps[layer])
        return dict(zip(self.spec.layers, totals, strict=True)), content

    def compute_targets(self, size: Size) -> TransferTargets:
        """What a picture of a size is held against."""
        photograph, P = self.compute_statistics(self.content(size))
        paintings = [
            self.get_style_statistics(i, own)
            for i, own in enumerate(self.compute_style_sizes(size))
        ]
        apart = torch.stack(
            [mean_pair_distance(measure_feature_spread(P), one) for _, one in paintings]
        )
        far = apart @ P.new_tensor(self.style_weights) / sum(self.style_weights)
        return TransferTargets(
            P, far, blend_grams([grams for grams, _ in paintings], self.style_weights), photograph
        )

    def get_style_statistics(self, number: int, size: Size) -> StyleStatistics:
        """One of the paintings at a size, looked at once."""
        key = number, size, self.max_tile_pixels
        if key not in self.style_cache:
            grams, content = self.compute_statistics(self.styles[number](size))
            self.style_cache[key] = grams, measure_feature_spread(content)
        return self.style_cache[key]

    def make_objective(self, size: Size) -> Objective:
        """The loss of a picture of a size."""
        sitters = self.compute_targets(size)
        return Objective(sitters, self.spec.compute_scales(sitters), self.spec, self.tv_weight)

    def compute_tile_sums(
        self, objective: Objective, part: Tensor, piece: Tile, size: Size
    ) -> list[Tensor]:
        """What is looked at of a picture of a size -> what it adds to |X - P|^2, and to each Gram matrix."""
        maps, layer = self.compute_feature_maps(part, piece), self.spec.content_layer
        P = piece.crop_whole_maps(objective.targets.P, relu_stride(layer))
        return [(at_least_float32(maps[layer]) - P).square().sum(), *self.compute_grams(maps, size)]

    @torch.no_grad()
    def compute_sums(self, objective: Objective, x: Tensor) -> list[Tensor]:
        """|X - P|^2 and the Gram matrices of a picture."""
        totals, size = list[Tensor](), spatial_size(x)
        for piece in self.make_tiles(size):
            totals = add_tile_sums(
                totals, self.compute_tile_sums(objective, piece.crop(x), piece, size)
            )
        return totals

    @torch.no_grad()
    def evaluate_terms(self, objective: Objective, x: Tensor) -> Tensor:
        """A picture's terms."""
        return objective.compute_terms(self.compute_sums(objective, x), x)

    def make_loss_function(self, objective: Objective) -> LossFunction:
        """A picture -> its terms, and the loss's gradient, in the picture's own layout of memory."""

        def loss(x: Tensor) -> tuple[Tensor, Tensor]:
            every = self.make_tiles(spatial_size(x))
            if len(every) > 1:
                return self.compute_tiled_gradient(objective, x.detach(), every)
            x = x.detach().requires_grad_()
            terms = objective.compute_terms(
                self.compute_tile_sums(objective, x, every[0], spatial_size(x)), x
            )
            (gradient,) = torch.autograd.grad(terms[0], x)
            return terms.detach(), gradient.contiguous(memory_format=torch.channels_last)

        return loss

    def compute_tiled_gradient(
        self, objective: Objective, x: Tensor, every: Sequence[Tile]
    ) -> tuple[Tensor, Tensor]:
        """Once to add up the sums that the loss is of; then, its gradient with respect to these known, each piece once
        more to take that back to the pixels."""
        sums = [one.requires_grad_() for one in self.compute_sums(objective, x)]
        whole = x.detach().requires_grad_()
        terms = objective.compute_terms(sums, whole)
        *back, gradient = torch.autograd.grad(terms[0], [*sums, whole], materialize_grads=True)
        for piece in every:
            part = piece.crop(x).detach().requires_grad_()
            found = self.compute_tile_sums(objective, part, piece, spatial_size(x))
            piece.crop(gradient).add_(torch.autograd.grad(found, part, back)[0])
        return terms.detach(), gradient.contiguous(memory_format=torch.channels_last)


def spatial_size(x: Tensor) -> Size:
    height, width = x.shape[2:]
    return height, width


def add_tile_sums(totals: list[Tensor], more: list[Tensor]) -> list[Tensor]:
    """Sums so far, if any, and what comes to them."""
    return [total.add_(one) for total, one in zip(totals, more, strict=True)] if totals else more
