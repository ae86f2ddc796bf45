"""Lists the members of the comparison and the settings in which each differs from params.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from detector.params import Params


@dataclass(frozen=True)
class Member:
    """One row of the comparison: its title, and its changes to the sections `model` and `train`."""

    title: str
    model: Mapping[str, object]
    train: Mapping[str, object] = field(default_factory=dict)

    def params(self, base: Params, epochs: int) -> Params:
        """Return the settings of this member: `base` with its changes and `epochs`."""
        changed = base.model_dump()
        changed["model"].update(self.model)
        changed["train"].update(self.train, epochs=epochs)
        return Params.model_validate(changed)


# Each crop costs a pass of the CNN: 16 crops from each of 8 images make the paper's batch of 128. R-CNN's SVMs are
# fitted on the best 500 proposals of each image, so that the cached features of VOC take about 2 GB.
_CROPS = {"regions": 16, "batch_size": 8, "proposals": 500}

# With the rate of the others the single object learns less, probably because a step has only one label for each image:
# docs/family.md has the figures.
_SLOW_TRUNK = {"backbone_rate": 0.03}

# The order is that of the story in docs/family.md.
MEMBERS = {
    "single_object": Member("single object", {"name": "single_object", "head": "softmax"}, _SLOW_TRUNK),
    "sliding_window": Member("sliding window", {"name": "sliding_window", "head": "softmax"}, _CROPS),
    "rcnn": Member("R-CNN (softmax)", {"name": "rcnn", "head": "softmax"}, _CROPS),
    "rcnn_svm": Member("R-CNN (SVM)", {"name": "rcnn", "head": "svm"}, _CROPS),
    "fast_rcnn": Member("Fast R-CNN", {"name": "fast_rcnn", "head": "softmax"}),
    "faster_rcnn": Member("Faster R-CNN", {"name": "faster_rcnn", "head": "softmax"}),
    "cascade_rcnn": Member("Cascade R-CNN", {"name": "cascade_rcnn", "head": "softmax"}),
    "cascade_light": Member("Cascade R-CNN (light)", {"name": "cascade_rcnn", "head": "light"}),
}
