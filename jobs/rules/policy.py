"""The thresholds of the rules with their reasons, and the policy that a person may choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Any large bucket holds some damaged images. When more than one in ten fails, something else is wrong: a policy, a
# prefix, a copy.
DEFAULT_MAX_FAILED: Final = 0.1

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

DRIFT_RULES: Final = ("boxes_per_image_drift", "label_drift", "score_drift")


@dataclass(frozen=True)
class Policy:
    """The choices of a person. max_failed: share of images, 0 to 1, that may fail; strict: drift rules that reject a
    run in place of a warning, sorted."""

    max_failed: float = DEFAULT_MAX_FAILED
    strict: tuple[str, ...] = ()
