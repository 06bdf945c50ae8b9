"""Boundary maps of predictions, and boundary refinement (Sec. 3.2, Fig. 3)."""
