# Makes the toy SAM 2, first part (tools/train_toy_sam2.py): encoder and head learn ToyPASS's pinhole images as single
# patches, from scratch and without memory.
_base_ = './_base_/toy_sam2.py'
train_pipeline = [
    dict(type='LoadPanorama'),
    dict(type='LoadLabel'),
    dict(type='RandomResize', scale=(512, 256), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(256, 256), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackPanorama'),
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
model = dict(
    train_memory_share=0.0,
    grid=[dict(window=(256, 256), stride=256)],
    data_preprocessor=dict(size=(256, 256), size_divisor=None),  # smaller images are padded to the crop
    test_cfg=dict(laps='forward', memory='off'),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.05), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='PolyLR', eta_min=0.0, power=1.0, begin=100, by_epoch=False),
]
train_cfg = dict(max_iters=3000, val_interval=1000)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=250))
