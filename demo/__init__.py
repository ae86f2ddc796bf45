"""Show both programs in one command, on this machine alone: `make demo`."""
