"""The segmentor GoodSAM: teacher assistant and student, and one training iteration."""
