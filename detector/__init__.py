"""Region-based object detectors (the R-CNN family), built reproducibly with DVC."""
