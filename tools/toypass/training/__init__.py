"""Training of the toy SAM on the instances of the pinhole images."""
