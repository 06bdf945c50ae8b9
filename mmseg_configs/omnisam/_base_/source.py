# The authors' source training: AdamW, 6e-5, linear warm-up, polynomial decay, 10 passes over the images at 4 on each of
# 2 GPUs, one step per patch. max_iters is the data set's: it counts batches.
_base_ = './model.py'
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainedConstructor',
    optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=1e-4),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', eta_min=0.0, power=1.0, begin=1500, by_epoch=False),
]
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=20, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, interval=500, save_best='mIoU', max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='PictureHook'),
)
custom_hooks = [dict(type='IterationSeedHook'), dict(type='OneTransferHook'), dict(type='StopOnBadLossHook')]
randomness = dict(seed=0)  # also of the order of images and windows, so that --resume continues exactly
# The memory has no gradient at the first patch of an image.
model_wrapper_cfg = dict(type='SequenceDistributed', find_unused_parameters=True, broadcast_buffers=False)
model = dict(step='patch')
