"""Commands that measure. Each prints a table; docs/benchmarks.md has the tables with machine and date."""
