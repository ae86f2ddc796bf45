"""Judges rules over tables with Great Expectations: over annotations, and over the records of a run."""
