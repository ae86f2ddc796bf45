"""Makes an artifact of a trained network: its ONNX graph and its model card."""
