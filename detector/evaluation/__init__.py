"""Measures detections and proposals against the truth."""
