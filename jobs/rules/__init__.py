"""The rules over a run's records that decide whether it is "valid" or "rejected"; `rules.py` lists them."""
