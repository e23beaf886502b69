"""Loss on motion: the optical flow of the reconstruction against that of the source."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cosmotok.errors import missing_extra
from cosmotok.perceptual.pretrained import Frozen, pretrained
from cosmotok.training.losses.pixel import l1

__all__ = ["FlowLoss"]

# RAFT works on an eighth of the resolution and halves that three times more for its correlations.
MULTIPLE = 8
MINIMUM_SIZE = 128


class FlowLoss(Frozen):
    """L1 between optical flows, forward and backward, from frame to frame, by RAFT (Teed and Deng 2020).

    Args:
        network: raft_large or raft_small.
        weights_path: as `pretrained` takes it.
        scale: frames are resized by this first, though not below the 128 pixels a side that RAFT needs.
        updates: how often RAFT refines the flow.
        recompute: keep no activations of RAFT for the backward pass; compute them again.

    Raises:
        CheckpointError: where the weights cannot be had.
        MissingExtraError: without torchvision.
    """

    def __init__(
        self, network: str, weights_path: str | None, scale: float = 0.5, updates: int = 12, recompute: bool = False
    ) -> None:
        super().__init__()
        try:
            from torchvision.models import get_model
        except ImportError:
            raise missing_extra("torchvision is not installed", "train") from None
        self.raft = pretrained(lambda: get_model(network, weights=None), network, weights_path, "flow_weights_path")
        self.scale, self.updates, self.recompute = scale, updates, recompute
        self.freeze()

    def forward(self, reconstruction: Tensor, source: Tensor) -> Tensor:
        """Mean absolute difference in pixels of the full size, over both components.

        Args:
            reconstruction, source: (B, 3, T, H, W) in [-1, 1], T >= 2.
        """
        # In half precision the coordinates of the correlation look-up would be whole pixels off.
        with torch.autocast(source.device.type, enabled=False):
            # clip by clip: the correlations of all pairs of positions take most of the memory
            losses = [l1(self.flow(r), self.flow(s).detach()) for r, s in zip(reconstruction, source, strict=True)]
        return torch.stack(losses).mean()

    def flow(self, clip: Tensor) -> Tensor:
        """Flow (2 (T - 1), 2, h, w) of one clip (3, T, H, W), from each frame to the next, then back again."""
        height, width = clip.shape[-2:]
        size = [max(MINIMUM_SIZE, round(n * self.scale / MULTIPLE) * MULTIPLE) for n in (height, width)]
        frames = F.interpolate(clip.transpose(0, 1), size, mode="bilinear", align_corners=False)
        before, after = frames[:-1], frames[1:]
        flow = self.estimate(torch.cat((before, after)), torch.cat((after, before)))
        return flow * flow.new_tensor([width / size[1], height / size[0]]).view(2, 1, 1)

    def estimate(self, start: Tensor, end: Tensor) -> Tensor:
        """RAFT's last flow estimate (N, 2, h, w)."""
        if self.recompute and start.requires_grad:
            return checkpoint(self.last_estimate, start, end, use_reentrant=False)
        return self.last_estimate(start, end)

    def last_estimate(self, start: Tensor, end: Tensor) -> Tensor:
        return self.raft(start, end, num_flow_updates=self.updates)[-1]
