# OmniSAM's adaptation with SAM 2.1 base+ from Stanford2D3D's pinhole images to its panoramas in 8 classes.
# It starts from a model of source_b_spin8.py: --load-from.
_base_ = './_base_/adapt_spin8.py'
model = dict(size='b')
