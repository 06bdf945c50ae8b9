# Makes the toy SAM 2, second part: all of it learns sequences of windows, with memory. Its memory encoder stays as it
# was drawn, because entries of the memory carry no gradient. tools/train_toy_sam2.py gives it the first part's weights.
_base_ = './_base_/toy_sam2.py'
train_pipeline = [
    dict(type='LoadPanorama'),
    dict(type='LoadLabel'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='DrawOrder'),
    dict(type='PackPanorama'),
]
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=train_pipeline))
model = dict(train_memory_share=0.8)
optim_wrapper = dict(optimizer=dict(lr=3e-4, weight_decay=0.05), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', eta_min=0.0, power=1.0, begin=50, by_epoch=False),
]
train_cfg = dict(max_iters=600, val_interval=300)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=100))
