# OmniSAM's source training with SAM 2.1 tiny on Stanford2D3D's pinhole images in 8 classes.
_base_ = './_base_/source_spin8.py'
weights = 'https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_tiny.pt'
model = dict(size='t', weights=weights)
