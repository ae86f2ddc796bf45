"""What a person may choose about the rules, and where every threshold stands with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Any large bucket holds some damaged pictures; above one in ten something else is wrong: a policy, a prefix, a copy.
DEFAULT_MAX_FAILED: Final = 0.1

# A box thinner than a pixel holds nothing that the network could have seen; the predictor drops them.
THINNEST: Final = 1.0

# Drift says that these photographs are unlike those that the detector was measured on: a reason to look, not to reject.
# Below this number of images that could be read, a few unusual ones decide.
DRIFT_IMAGES: Final = 500
# Below this number of boxes on either side, chance alone reaches half of MAX_PSI over twenty labels: its expectation is
# (bins - 1) * (1 / n + 1 / m) for two samples of n and m from one population (Yurdakul 2018, section 3).
DRIFT_BOXES: Final = 200
# Half or twice as many boxes an image as on the artifact's test images: 500 photographs of one place stay within.
MAX_RATIO: Final = 2.0
# Population stability index: below .1 nothing has changed, from .25 on the population is another one (Siddiqi 2006,
# Credit Risk Scorecards, chapter 9; the custom since Lewis 1994).
MAX_PSI: Final = 0.25

DRIFT_RULES: Final = ("boxes_per_image_drift", "label_drift", "score_drift")


@dataclass(frozen=True)
class Policy:
    """max_failed: share of images, 0 to 1, that may fail; strict: drift rules that reject rather than warn, sorted."""

    max_failed: float = DEFAULT_MAX_FAILED
    strict: tuple[str, ...] = ()
