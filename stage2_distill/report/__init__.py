"""A training run as one HTML page: curves, scores, and panoramas to look around in."""
