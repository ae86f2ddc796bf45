"""A detector in use, without torch: artifact, images, network, detections."""
