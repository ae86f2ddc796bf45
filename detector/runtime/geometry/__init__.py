"""Boxes as NumPy arrays: float32 `(N, 4)`, `xyxy`, half-open pixel edges (`0 <= x1 < x2 <= W`).

Every function takes and returns empty `(0, 4)` arrays without a special case.
"""
