"""From files to images and annotations."""
