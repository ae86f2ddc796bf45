"""Measure Selective Search beside other sources of boxes: time and quality, and how time and memory grow."""
