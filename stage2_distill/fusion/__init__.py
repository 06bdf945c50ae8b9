"""Ensemble labels and weight maps from masks and logits: CTCF (Eq. 3), SSA and SEPL."""
