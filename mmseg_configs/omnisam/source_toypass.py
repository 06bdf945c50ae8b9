# OmniSAM's source training on ToyPASS's pinhole images, from the toy SAM 2 that comes with the project
# (tools/train_toy_sam2.py makes another).
_base_ = './_base_/source_toypass.py'
model = dict(size='toy', weights='goodsam://toy_sam2.safetensors', step='sequence')
# A short run: one step per sequence, with a higher rate than the authors' step per patch.
optim_wrapper = dict(optimizer=dict(lr=6e-4), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', eta_min=0.0, power=1.0, begin=50, by_epoch=False),
]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=100))
