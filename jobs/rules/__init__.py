"""The rules that decide between "valid" and "rejected", over a run's records: `rules.py` lists them."""
