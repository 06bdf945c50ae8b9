# OmniSAM's source training with SAM 2.1 small on SynPASS in 13 classes.
_base_ = './_base_/source_sp13.py'
weights = 'https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_small.pt'
model = dict(size='s', weights=weights)
