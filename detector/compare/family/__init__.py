"""Trains and evaluates all members of the detector family on the same data."""
