# Shared by all distillation runs, beyond default_runtime: the runner, its hooks and logs.
_base_ = './default_runtime.py'
runner_type = 'GoodSAMRunner'
model_wrapper_cfg = dict(type='MMSeparateDistributedDataParallel')
randomness = dict(seed=0)  # also of the order of samples, so that --resume continues exactly
# A frozen assistant's labels never change: they are made once, before training, and kept in lessons_dir, which several
# runs can share; None: the folder lessons of the work dir.
store_lessons = True
lessons_dir = None
custom_hooks = [dict(type='IterationSeedHook'), dict(type='OneTransferHook'), dict(type='StopOnBadLossHook')]
vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
visualizer = dict(type='SegLocalVisualizer', vis_backends=vis_backends, name='visualizer')
