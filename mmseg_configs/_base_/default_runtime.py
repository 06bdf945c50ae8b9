# Shared by all experiments: scope, logging, environment. The project owns all of its base configs.
default_scope = 'mmseg'
env_cfg = dict(
    cudnn_benchmark=True, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0), dist_cfg=dict(backend='nccl')
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='SegLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
sync_bn = 'torch'  # used when training is distributed
custom_imports = dict(imports=['stage2_distill.components'], allow_failed_imports=False)
