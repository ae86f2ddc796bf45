"""Reads annotation formats; each has its own file."""
