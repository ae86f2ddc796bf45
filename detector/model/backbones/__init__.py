"""Feature extractors: image classification networks, and the trunk and neck of a detector.

A backbone maps images float (B, 3, H, W), H and W multiples of 32, normalised as `detector.runtime.images` does, to
three feature maps (B, C_l, H / s_l, W / s_l), finest first; its `channels` are C_l and its `strides` are s_l.
"""

from detector.model.backbones.table import BACKBONES, Backbone

__all__ = ["BACKBONES", "Backbone"]
