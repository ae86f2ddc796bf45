"""Region-based object detectors (the R-CNN family), built reproducibly with DVC."""

import os

# This must be set before ONNX Runtime is loaded. Otherwise 1.32 writes a database of what it ran, for its maker, into
# the home folder, which may be read-only. With the setting, nothing leaves the machine.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
