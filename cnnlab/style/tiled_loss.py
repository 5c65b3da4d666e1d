"""What a network sees of the pictures, and the loss of what is painted: in pieces, where a picture is too large to be
looked at in one go. Gram matrices and distances are sums over places, so that pieces add up to exactly the whole."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cnnlab.style.losses import Aim, Maps, Objective, Sitters, Spread, blend, gram, spread, unrelated, wide
from cnnlab.style.optimizers import Loss
from cnnlab.style.scales import Size, painting_size
from cnnlab.style.tiling import Piece, pieces
from cnnlab.style.vgg import Encoder, stride

Sight = tuple[dict[str, Tensor], Spread]  # Gram matrices by layer, and the content's layer
Sights = dict[tuple[int, Size, int], Sight]  # paintings that were looked at: which, at what size, in what pieces
WHOLE = 1 << 60  # a piece that any picture fits into
Picture = Callable[[Size], Tensor]  # a picture at a size, (1, 3, H, W) in 0..1, on the device


@dataclass(frozen=True, kw_only=True)
class Easel:
    """A network and what it paints from. `style_sizes`: each painting's own (H, W); `style_weights`: what each counts;
    `style_scale`: a painting's side as a share of what gives it the picture's area (it is never enlarged)."""

    encoder: Encoder
    content: Picture
    styles: Sequence[Picture]
    style_sizes: Sequence[Size]
    style_weights: Sequence[float]
    style_scale: float
    aim: Aim
    variation: float
    dtype: torch.dtype  # of the convolutions; Gram matrices are float32
    piece: int  # pixels that the network may look at in one go
    sights: Sights = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The ReLUs that must be known."""
        return (*dict.fromkeys((*self.aim.layers, self.aim.content_layer)),)

    def painting_sizes(self, size: Size) -> list[Size]:
        """Each painting's size beside a picture's."""
        return [painting_size(own, size, self.style_scale) for own in self.style_sizes]

    def largest_painting(self, size: Size) -> int:
        """The pixels of the largest of them."""
        return max(height * width for height, width in self.painting_sizes(size))

    def beside(self, size: Size) -> float:
        """The pixels of the paintings that are looked at beside a picture's of a size, as a share of these."""
        return sum(height * width for height, width in self.painting_sizes(size)) / (size[0] * size[1])

    def pieces(self, size: Size) -> list[Piece]:
        """How a picture of a size is looked at."""
        return pieces(size, self.piece, self.encoder.reach(self.names), stride(self.aim.deepest))

    def maps(self, part: Tensor, piece: Piece) -> Maps:
        """The maps that count of what is looked at of a picture, (1, 3, h, w)."""
        with torch.autocast(part.device.type, self.dtype, enabled=self.dtype is not torch.float32):
            found = self.encoder(part.contiguous(memory_format=torch.channels_last), self.names)
        return {name: piece.counted(one, stride(name)) for name, one in found.items()}

    def grams(self, maps: Maps, size: Size) -> list[Tensor]:
        """The aim's layers' Gram matrices: of a piece of a picture of that size, its part of them."""
        height, width = size
        return [gram(maps[name], (height // stride(name)) * (width // stride(name))) for name in self.aim.layers]

    @torch.no_grad()
    def seen(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """A picture's Gram matrices by layer, and its maps at the content's layer."""
        layer, size, totals = self.aim.content_layer, size_of(x), list[Tensor]()
        height, width = (side // stride(layer) for side in size)
        content = x.new_empty(1, self.encoder.filters(layer), height, width)
        for piece in self.pieces(size):
            maps = self.maps(piece.of(x), piece)
            totals = added(totals, self.grams(maps, size))
            piece.place(content, stride(layer)).copy_(maps[layer])
        return dict(zip(self.aim.layers, totals, strict=True)), content

    def sitters(self, size: Size) -> Sitters:
        """What a picture of a size is held against."""
        photograph, P = self.seen(self.content(size))
        paintings = [self.painting(i, own) for i, own in enumerate(self.painting_sizes(size))]
        apart = torch.stack([unrelated(spread(P), one) for _, one in paintings])
        far = apart @ P.new_tensor(self.style_weights) / sum(self.style_weights)
        return Sitters(P, far, blend([grams for grams, _ in paintings], self.style_weights), photograph)

    def painting(self, number: int, size: Size) -> Sight:
        """One of the paintings at a size, looked at once."""
        key = number, size, self.piece
        if key not in self.sights:
            grams, content = self.seen(self.styles[number](size))
            self.sights[key] = grams, spread(content)
        return self.sights[key]

    def objective(self, size: Size) -> Objective:
        """The loss of a picture of a size."""
        sitters = self.sitters(size)
        return Objective(sitters, self.aim.scales(sitters), self.aim, self.variation)

    def part(self, objective: Objective, part: Tensor, piece: Piece, size: Size) -> list[Tensor]:
        """What is looked at of a picture of a size -> what it adds to |X - P|^2, and to each Gram matrix."""
        maps, layer = self.maps(part, piece), self.aim.content_layer
        P = piece.place(objective.sitters.P, stride(layer))
        return [(wide(maps[layer]) - P).square().sum(), *self.grams(maps, size)]

    @torch.no_grad()
    def sums(self, objective: Objective, x: Tensor) -> list[Tensor]:
        """|X - P|^2 and the Gram matrices of a picture."""
        totals, size = list[Tensor](), size_of(x)
        for piece in self.pieces(size):
            totals = added(totals, self.part(objective, piece.of(x), piece, size))
        return totals

    @torch.no_grad()
    def judged(self, objective: Objective, x: Tensor) -> Tensor:
        """A picture's terms."""
        return objective.terms(self.sums(objective, x), x)

    def loss(self, objective: Objective) -> Loss:
        """A picture -> its terms, and the loss's gradient, in the picture's own layout of memory."""

        def loss(x: Tensor) -> tuple[Tensor, Tensor]:
            every = self.pieces(size_of(x))
            if len(every) > 1:
                return self.in_pieces(objective, x.detach(), every)
            x = x.detach().requires_grad_()
            terms = objective.terms(self.part(objective, x, every[0], size_of(x)), x)
            (gradient,) = torch.autograd.grad(terms[0], x)
            return terms.detach(), gradient.contiguous(memory_format=torch.channels_last)

        return loss

    def in_pieces(self, objective: Objective, x: Tensor, every: Sequence[Piece]) -> tuple[Tensor, Tensor]:
        """Once to add up the sums that the loss is of; then, its gradient with respect to these known, each piece once
        more to take that back to the pixels."""
        sums = [one.requires_grad_() for one in self.sums(objective, x)]
        whole = x.detach().requires_grad_()
        terms = objective.terms(sums, whole)
        *back, gradient = torch.autograd.grad(terms[0], [*sums, whole], materialize_grads=True)
        for piece in every:
            part = piece.of(x).detach().requires_grad_()
            found = self.part(objective, part, piece, size_of(x))
            piece.of(gradient).add_(torch.autograd.grad(found, part, back)[0])
        return terms.detach(), gradient.contiguous(memory_format=torch.channels_last)


def size_of(x: Tensor) -> Size:
    height, width = x.shape[2:]
    return height, width


def added(totals: list[Tensor], more: list[Tensor]) -> list[Tensor]:
    """Sums so far, if any, and what comes to them."""
    return [total.add_(one) for total, one in zip(totals, more, strict=True)] if totals else more
