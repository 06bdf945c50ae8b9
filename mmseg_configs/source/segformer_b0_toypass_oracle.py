# The upper bound, not part of the method: the same network trained on the true labels of ToyPASS's training panoramas,
# which are kept apart from the data set. Start from the source's weights with --load-from.
_base_ = './segformer_b0_toypass.py'
train_pipeline = [
    dict(type='LoadPanorama'),
    dict(type='LoadLabel'),
    dict(type='RandomResize', scale=(1024, 200), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(192, 384), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackPanorama'),
]
train_dataloader = dict(dataset=dict(name='toypass', labels='data/ToyPASS/truth/target/train', pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(name='toypass'))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=6e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', eta_min=0.0, power=1.0, begin=50, by_epoch=False),
]
train_cfg = dict(max_iters=600)
