"""The pictures, and the place in each, that excite a layer's channels most."""

import torch
from torch import Tensor


class TopActivations:
    """The largest `most` values of every channel over all the pictures that it is shown, at most one a picture."""

    def __init__(self, k: int) -> None:
        self.k, self.num_seen = k, 0
        self.values = self.image_indices = self.rows = self.columns = torch.empty(0)

    def update(self, maps: Tensor) -> None:
        """(N, K, h, w) or (N, K) outputs for the next N pictures. Keeps (at most `most`, K) tensors: `value`, sorted
        falling, `picture`, counted from 0 over all that were shown, and `row` and `column` in the map."""
        maps = maps.detach().float()
        n, channels = maps.shape[:2]
        width = maps.shape[3] if maps.ndim == 4 else 1
        value, place = (
            maps.flatten(2).max(2)
            if maps.ndim == 4
            else (maps, torch.zeros_like(maps, dtype=torch.long))
        )
        picture = (
            (torch.arange(n, device=maps.device) + self.num_seen).unsqueeze(1).expand(n, channels)
        )
        fresh = {
            "values": value,
            "image_indices": picture,
            "rows": place // width,
            "columns": place % width,
        }
        if self.num_seen:
            fresh = {name: torch.cat((getattr(self, name), new)) for name, new in fresh.items()}
        # Stable: of equal values the first picture's comes first, whatever the batches.
        order = fresh["values"].argsort(dim=0, descending=True, stable=True)[: self.k]
        for name, both in fresh.items():
            setattr(self, name, both.gather(0, order))
        self.num_seen += n

    @property
    def is_dead(self) -> Tensor:
        """(K,) which channels were never above zero: after a ReLU, they said nothing of any picture."""
        return self.values[0] <= 0
