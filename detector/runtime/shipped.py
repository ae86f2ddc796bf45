"""Where the artifact that comes with the package lies."""

from __future__ import annotations

from pathlib import Path

# For the 20 classes of PASCAL VOC; README.md beside it is its model card.
SHIPPED = Path(__file__).parents[1] / "artifacts" / "voc20"
