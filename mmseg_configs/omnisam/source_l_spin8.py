# OmniSAM's source training with SAM 2.1 large on Stanford2D3D's pinhole images in 8 classes.
_base_ = './_base_/source_spin8.py'
weights = 'https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_large.pt'
model = dict(size='l', weights=weights)
