"""What the benchmark of faults and the tests under tests/jobs/faults share."""
