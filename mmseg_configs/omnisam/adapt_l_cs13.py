# OmniSAM's adaptation with SAM 2.1 large from Cityscapes to DensePASS in 13 classes; --load-from a model of source_l_cs13.py.
_base_ = './_base_/adapt_cs13.py'
model = dict(size='l')
