# The upper bound of goodsam_b0_toypass.py at equal steps: its student, schedule and panoramas, with the true labels.
_base_ = './segformer_b0_toypass_oracle.py'
load_from = 'goodsam://segformer_b0.safetensors'
model = dict(decode_head=dict(loss_decode=dict(_delete_=True, type='mmseg.CrossEntropyLoss', avg_non_ignore=True)))
train_pipeline = [
    dict(type='LoadPanorama'),
    dict(type='LoadLabel'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackPanorama'),
]
train_dataloader = dict(batch_size=1, num_workers=1, dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type='PolyLR', eta_min=0.0, power=1.0, begin=20, by_epoch=False),
]
train_cfg = dict(max_iters=300, val_interval=300)
