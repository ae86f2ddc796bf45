"""Who takes part, and what each needs other than params.yaml says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from detector.params import Params


@dataclass(frozen=True)
class Member:
    """One row of the comparison: its title, and changes to the sections `model` and `train`."""

    title: str
    model: Mapping[str, object]
    train: Mapping[str, object] = field(default_factory=dict)

    def params(self, base: Params, epochs: int) -> Params:
        """`base` for this member, to be trained for `epochs`."""
        changed = base.model_dump()
        changed["model"].update(self.model)
        changed["train"].update(self.train, epochs=epochs)
        return Params.model_validate(changed)


# Crops cost a pass of the CNN each: 16 an image and step make the paper's batch of 128 of 8 images. R-CNN's SVMs are
# fitted on the best 500 proposals an image, which keeps the cached features of VOC near 2 GB.
_CROPS = {"regions": 16, "batch_size": 8, "proposals": 500}

# In the order of the story.
MEMBERS = {
    "single_object": Member("single object", {"name": "single_object", "head": "softmax"}),
    "sliding_window": Member("sliding window", {"name": "sliding_window", "head": "softmax"}, _CROPS),
    "rcnn": Member("R-CNN (softmax)", {"name": "rcnn", "head": "softmax"}, _CROPS),
    "rcnn_svm": Member("R-CNN (SVM)", {"name": "rcnn", "head": "svm"}, _CROPS),
    "fast_rcnn": Member("Fast R-CNN", {"name": "fast_rcnn", "head": "softmax"}),
    "faster_rcnn": Member("Faster R-CNN", {"name": "faster_rcnn", "head": "softmax"}),
}
