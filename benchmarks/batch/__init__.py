"""Measure the batch job against the sum of its steps, and against the loop that a user would write first."""
