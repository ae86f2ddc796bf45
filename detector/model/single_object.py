"""Classification and localisation: the whole image is one vector, which gives class scores and one box.

What detection was before there were several objects (OverFeat, Sermanet et al., ICLR 2014, section 4; AlexNet's
localisation at ILSVRC 2012). Shapes: B images, D channels, S bins a side, C classes without "no object".
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import box_area

from detector.model.backbones import BACKBONES
from detector.model.heads import ClassLayer, hidden_layers
from detector.model.network import DetectionNetwork, Losses
from detector.model.roi_align import roi_align
from detector.model.training_images import Example
from detector.params import ModelSettings, TrainSettings

# An average over the map would lose the position, so that this many cells per axis are kept, each the mean of 2 x 2
# samples.
_BINS, _SAMPLES = 7, 2
# The first prediction of every box is the middle half of the frame: x, y, width, height.
_FIRST_BOX = (0.25, 0.25, 0.5, 0.5)


_UNKNOWN = -1


class SingleObject(DetectionNetwork):
    """A backbone, a fixed grid of its last map and two hidden layers give C + 1 class logits and one box.

    A box is (x, y, width, height) in shares of the frame. The frame is the image with its own padding to multiples of
    32 by `normalise`. This is the only size that an exported graph knows, so that training uses it too. If a batch is
    padded further in training, features near that edge see zeros beyond it, which they do not see in use.
    """

    def __init__(self, settings: ModelSettings, classes: int, weights: str) -> None:
        """Build the network; weights: "imagenet" or a file, of the backbone, or "none" if all are loaded afterwards."""
        super().__init__()
        backbone = BACKBONES[settings.backbone]
        self.stride = backbone.strides[-1]
        self.backbone = backbone.build(weights, settings.start_sha256)
        # As many channels as the pyramid of other members has, because the first hidden layer reads 49 cells of each.
        self.reduce = nn.Sequential(nn.Conv2d(backbone.channels[-1], settings.pyramid_channels, 1), nn.ReLU())
        self.layers = hidden_layers(settings.pyramid_channels * _BINS * _BINS, settings.hidden, settings.dropout)
        self.classes = ClassLayer(settings.hidden, classes, 0.01, background=True)
        self.box = nn.Linear(settings.hidden, 4)
        nn.init.normal_(self.box.weight, std=0.001)
        with torch.no_grad():
            self.box.bias.copy_(torch.tensor(_FIRST_BOX))

    def outputs(self, images: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, C + 1) and boxes (B, 4) in shares of the frames, both float32.

        images: (B, 3, H, W); frames: (B, 4) xyxy in pixels.
        """
        maps = self.reduce(self.backbone(images)[-1]).float()  # (B, D, H / 32, W / 32)
        rois = torch.cat([torch.arange(frames.shape[0], device=frames.device)[:, None].to(frames), frames], dim=1)
        places = roi_align(maps, rois, _BINS, 1.0 / self.stride, _SAMPLES)  # (B, D, 7, 7)
        hidden = self.layers(places)
        return self.classes(hidden).float(), self.box(hidden).float()

    def forward(self, images: Tensor, examples: Sequence[Example], settings: TrainSettings) -> Losses:
        """Return the softmax loss, and the squared L2 distance of the boxes, which counts box_weight times.

        Both are means over the images with a label. An image's object is its largest one. An image without objects has
        the class "no object" and no box loss; if all its objects are ignored, it has no label.
        """
        frames = images.new_tensor([[0, 0, example.image.shape[2], example.image.shape[1]] for example in examples])
        logits, boxes = self.outputs(images, frames)
        targets = [_target(example) for example in examples]
        labels = torch.tensor([label for label, _ in targets], device=logits.device)
        wanted = torch.stack([box for _, box in targets]).to(boxes.device)
        count = max(1, sum(label != _UNKNOWN for label, _ in targets))
        class_loss = functional.cross_entropy(logits, labels, reduction="sum", ignore_index=_UNKNOWN) / count
        box_loss = ((boxes - wanted).square().sum(dim=1) * (labels > 0)).sum() / count
        return {"class": class_loss, "box": box_loss, "total": class_loss + settings.box_weight * box_loss}

    def detect(self, image: Tensor, proposals: Tensor, max_proposals: int) -> tuple[Tensor, Tensor]:
        """Return probabilities and boxes as the base class says, with N = 1: all classes have the same box."""
        # With as_tensor, tracing keeps the sizes open.
        size = torch.stack([torch.as_tensor(image.shape[3]), torch.as_tensor(image.shape[2])]).to(image)  # (2,)
        frame = torch.cat([torch.zeros_like(size), size])[None]
        logits, shares = self.outputs(image, frame)
        low = shares[:, :2] * size
        box = torch.cat([low, low + shares[:, 2:] * size], dim=1)  # (1, 4) xyxy in pixels
        scores = logits.softmax(dim=1)[:, 1:]
        return scores, box[:, None].expand(-1, scores.shape[1], 4)


def _target(example: Example) -> tuple[int, Tensor]:
    """Return the label, 0 for no object or _UNKNOWN if all are ignored, and the box (4,) in shares of the frame."""
    if len(example.truth) == 0:
        return 0, torch.zeros(4)
    known = torch.nonzero(~example.ignore).squeeze(1)
    if len(known) == 0:
        return _UNKNOWN, torch.zeros(4)
    largest = known[box_area(example.truth[known]).argmax()]
    low, high = example.truth[largest, :2], example.truth[largest, 2:]
    size = low.new_tensor([example.image.shape[2], example.image.shape[1]])  # width, height
    return int(example.labels[largest]), torch.cat([low / size, (high - low) / size])
