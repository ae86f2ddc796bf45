"""The members of the detector family on the same data and backbone: the story from R-CNN to Faster R-CNN in figures."""
