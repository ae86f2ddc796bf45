"""Makes an artifact of an ONNX file that somebody else made: recognises it, names its classes, measures it."""
