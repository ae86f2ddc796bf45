"""The detector family: networks, targets and losses."""
