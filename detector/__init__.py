"""Region-based object detectors (the R-CNN family), built reproducibly with DVC."""

import os

# Before ONNX Runtime is loaded: 1.32 otherwise keeps a database of what it ran in the home folder, for its maker.
# Nothing leaves the machine, and the home folder may be read-only.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
