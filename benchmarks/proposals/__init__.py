"""Selective Search beside other ways to boxes: time and quality, and how both grow."""
