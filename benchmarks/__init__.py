"""Commands that measure: each prints a table, and docs/benchmarks.md holds what they printed where and when."""
