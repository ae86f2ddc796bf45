"""How good detections and proposals are."""
