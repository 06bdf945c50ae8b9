# The paper's schedule is in its supplement; these are SegFormer's fine-tuning values, with a tenth of the learning rate
# for the teacher assistant.
paramwise_cfg = dict(
    custom_keys={'pos_block': dict(decay_mult=0.0), 'norm': dict(decay_mult=0.0), 'head': dict(lr_mult=10.0)}
)
optim_wrapper = dict(
    constructor='GoodSAMOptimizerConstructor',
    student=dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
        paramwise_cfg=paramwise_cfg,
    ),
    teacher_assistant=dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=6e-6, betas=(0.9, 0.999), weight_decay=0.01),
        paramwise_cfg=paramwise_cfg,
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', eta_min=0.0, power=1.0, begin=1500, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=40000, val_interval=4000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='AtomicCheckpointHook', by_epoch=False, interval=4000, save_best='mIoU', rule='greater', max_keep_ckpts=2
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='PictureHook'),
    label_guard=dict(type='LabelGuardHook', interval=500),
)
