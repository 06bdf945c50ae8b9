# OmniSAM's adaptation to unlabelled panoramas. It starts from a source model: --load-from. The values are those of the
# authors' README where its code gives them; where code and intent part, the comment says what they ran.
_base_ = './model.py'
runner_type = 'AdaptationRunner'
model = dict(
    type='AdaptedOmniSAM',
    data_preprocessor=dict(type='PairedPreProcessor'),
    step='patch',
    target_weight=1.0,
    fpa_weight=0.3,  # lambda; 0.1 by default in the authors' code; the paper's is not known
    norm_eval=True,  # False: the statistics follow the batches of both domains, as theirs do
    ramp=None,  # the second revision, in steps of patches: target 0 to 900, fpa 900 to 1800; here in iterations
    # The authors index by step, in orders that are reversed at random, and count absent classes (literal=True).
    prototypes=dict(index='window', positions=9, literal=False),
    source_loss=None,  # the authors weight classes outdoors; see adapt_cs13.py
)
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainedConstructor',
    optimizer=dict(type='AdamW', lr=1e-5, betas=(0.9, 0.999), weight_decay=1e-4),  # 2e-6 by default in their code
)
# A constant rate; the authors' second revision warms up and decays.
param_scheduler = [dict(type='ConstantLR', factor=1.0, by_epoch=False)]
# Round 0 has 400 images and 200 batches of 2, each later one 200 images: nine rounds are 2000 images.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=1000, val_interval=200)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=20, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # At each round's start, so that labelling can be interrupted. The last checkpoint counts: validation is on the
    # panoramas that are scored, so that the best one would be chosen by their labels.
    checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, interval=100, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='PictureHook'),
    rounds=dict(
        type='PseudoLabelRoundHook',
        first=400,
        later=200,
        first_iters=200,
        iters_per_round=100,
        rounds=None,  # 1: the labels of the start are static
        subset='without_replacement',  # what the authors mean; their code draws 'with_replacement'
        relabel=True,  # False: every round's labels are the source model's
        labelling=dict(rule='unanimous', threshold=None, laps='both'),  # they ran 'vote', later 'sum' with 0.85
        reset_optimizer=(),  # the authors' first revision: (0, 5)
    ),
)
custom_hooks = [dict(type='IterationSeedHook'), dict(type='OneTransferHook'), dict(type='StopOnBadLossHook')]
randomness = dict(seed=0)  # also of rounds and orders, so that --resume continues exactly
# The memory has no gradient at the first patch of an image.
model_wrapper_cfg = dict(type='SequenceDistributed', find_unused_parameters=True, broadcast_buffers=False)
