"""The backbones as the classifiers that they were published as: counted, measured, and beside the lecture's table."""
