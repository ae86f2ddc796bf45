"""The thresholds of the rules with their reasons, and the policy that a person may choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Any large bucket holds some damaged images. When more than one in ten fails, something else is wrong: a policy, a
# prefix, a copy.
DEFAULT_MAX_FAILED: Final = 0.1

# In most buckets the first folder below INPUT is a camera, a place or a customer.
DEFAULT_PREFIX_DEPTH: Final = 1

# A box thinner than a pixel holds nothing that the network could have seen, and the detector drops it.
THINNEST: Final = 1.0

# Drift means that the images are unlike those that the detector was measured on: a reason to look, not to reject.
# With fewer readable images, a few unusual ones would decide.
DRIFT_IMAGES: Final = 500
# With fewer boxes on either side, chance alone reaches half of MAX_PSI over twenty labels: its expected value is
# (bins - 1) * (1 / n + 1 / m) for two samples of n and m from one population (Yurdakul 2018, section 3).
DRIFT_BOXES: Final = 200
# Twice as many boxes in an image as on the artifact's test images, or half as many: 500 photographs of one place do not
# differ by more.
MAX_RATIO: Final = 2.0
# Population stability index: below .1 nothing has changed, and from .25 on the population is a different one (Siddiqi
# 2006, Credit Risk Scorecards, chapter 9; usual since Lewis 1994).
MAX_PSI: Final = 0.25


# What follows is for the rules over pixels, and for all drift rules by prefix. They need fewer images, because each
# also has to be beyond chance.
PREFIX_IMAGES: Final = 100
PREFIX_BOXES: Final = 100
# The probability that a run without drift breaks any of them, in any of its prefixes (Holm's correction).
ALARM_RATE: Final = 0.01
# A tail holds at most this share of the baseline's images: "as blurred as one image in ten of the test images".
TAIL: Final = 0.1
# A tail, or near-duplicates, may have this much more of the images than of the baseline's. A camera with a view of its
# own moves a few of its images into a tail, and a fault most of them.
MAX_SHIFT: Final = 0.25
# Of images higher than wide, or of another size: 25 % of the shipped artifact's test images are higher than wide, and a
# camera that takes none of them is none to be warned of.
MAX_FRAME_SHIFT: Final = 0.35

BOX_RULES: Final = ("boxes_per_image_drift", "label_drift", "score_drift")
DRIFT_RULES: Final = (
    *BOX_RULES, "blur_drift", "darkness_drift", "glare_drift", "colour_drift", "portrait_drift", "frame_drift",
    "near_duplicates",
)  # fmt: skip


@dataclass(frozen=True)
class Policy:
    """The choices of a person. max_failed: share of images, 0 to 1, that may fail; strict: drift rules that reject a
    run in place of a warning, sorted; prefix_depth: number of folders below INPUT by which drift is judged too, 0: by
    none."""

    max_failed: float = DEFAULT_MAX_FAILED
    strict: tuple[str, ...] = ()
    prefix_depth: int = DEFAULT_PREFIX_DEPTH
