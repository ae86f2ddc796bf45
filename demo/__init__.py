"""The whole road in one command, on this machine alone: `make demo`."""
