"""Measures how often the drift rules see planted faults of pixels, and how often they warn of clean runs."""
