# OmniSAM's adaptation with SAM 2.1 base+ from Cityscapes to DensePASS in 13 classes.
# It starts from a model of source_b_cs13.py: --load-from.
_base_ = './_base_/adapt_cs13.py'
model = dict(size='b')
