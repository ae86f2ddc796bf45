"""Reads images and annotations of any source as the internal dataset."""
