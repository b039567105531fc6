"""What the frozen part of a model computes: once for each image, on the fastest engine there is, and kept."""
