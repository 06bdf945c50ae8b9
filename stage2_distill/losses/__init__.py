"""The losses of the paper as functions of tensors: consistency (Eq. 1), boundaries (Eq. 2, 7), knowledge (Eq. 4 to 6)."""
