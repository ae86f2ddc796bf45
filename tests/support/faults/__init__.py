"""Faults for the batch job. Each function here lets one fault happen and returns what came of it.

The tests under tests/jobs/faults and `python -m benchmarks.faults` judge whether that is what the job promises.
"""
