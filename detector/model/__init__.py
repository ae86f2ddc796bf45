"""The detector family: its networks, targets, losses and training."""
