"""The losses of the paper as functions of tensors: Eq. 1 (consistency), 2 and 7 (boundaries), 4 to 6 (knowledge)."""
