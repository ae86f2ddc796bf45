"""What the scores of a graph may mean beside probabilities."""

from __future__ import annotations

import numpy as np

# The score of a label that a graph does not give to a box: no threshold lets it pass, as 0 would let 0.
ABSENT = np.float32(-1)
