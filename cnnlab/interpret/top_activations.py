"""Find the images, and the position in each, at which a layer's channels are most active."""

import torch
from torch import Tensor


class TopActivations:
    """The `k` largest values of every channel over all images, at most one an image.

    After `update`, (at most k, K) tensors: `values`, sorted descending, `image_indices`, counted
    from 0 over all images, and `rows` and `columns` in the map."""

    def __init__(self, k: int) -> None:
        self.k, self.num_seen = k, 0
        self.values = self.image_indices = self.rows = self.columns = torch.empty(0)

    def update(self, maps: Tensor) -> None:
        """Add the (N, K, h, w) or (N, K) outputs of the next N images."""
        new = self.find_maxima(maps.detach().float())
        if self.num_seen:
            new = {name: torch.cat((getattr(self, name), part)) for name, part in new.items()}
        # Stable: of equal values the first image's comes first, whatever the batches.
        order = new["values"].argsort(dim=0, descending=True, stable=True)[: self.k]
        for name, joined in new.items():
            setattr(self, name, joined.gather(0, order))
        self.num_seen += len(maps)

    def find_maxima(self, maps: Tensor) -> dict[str, Tensor]:
        """Return the largest value of each image in each channel, and where it is, all (N, K)."""
        n, channels = maps.shape[:2]
        flat = maps.unsqueeze(2) if maps.ndim == 2 else maps.flatten(2)
        width = maps.shape[3] if maps.ndim == 4 else 1
        values, positions = flat.max(2)
        index = torch.arange(n, device=maps.device) + self.num_seen
        return {
            "values": values,
            "image_indices": index.unsqueeze(1).expand(n, channels),
            "rows": positions // width,
            "columns": positions % width,
        }

    @property
    def is_dead(self) -> Tensor:
        """(K,) which channels were above zero for no image."""
        return self.values[0] <= 0
