"""A trained network as an artifact: its ONNX graph, its description, its model card."""
