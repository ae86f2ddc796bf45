"""Comparisons that a person asks for, outside the pipeline's stages."""
