# OmniSAM's source training with SAM 2.1 base+ on SynPASS in 13 classes.
_base_ = './_base_/source_sp13.py'
weights = 'https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_base_plus.pt'
model = dict(size='b', weights=weights)
