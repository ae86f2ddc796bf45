"""The kinds of graphs: how the outputs of each become boxes and scores.

To add one, write a file here with its settings and its class, and name both below.
"""

from detector.runtime.kinds.graph import Candidates, GraphDetector
from detector.runtime.kinds.rcnn import Rcnn, RcnnDecoding

Decoding = RcnnDecoding
KINDS: dict[str, type[GraphDetector]] = {"rcnn": Rcnn}

__all__ = ["KINDS", "Candidates", "Decoding", "GraphDetector"]
