# OmniSAM's adaptation with SAM 2.1 large from SynPASS to DensePASS in 13 classes.
# It starts from a model of source_l_sp13.py: --load-from.
_base_ = './_base_/adapt_sp13.py'
model = dict(size='l')
