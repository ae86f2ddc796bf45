"""Counts and measures the backbones as published classifiers, beside the lecture's table."""
