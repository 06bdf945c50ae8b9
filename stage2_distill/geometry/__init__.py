"""Windows and overlaps of a batch of panoramas as tensors."""
