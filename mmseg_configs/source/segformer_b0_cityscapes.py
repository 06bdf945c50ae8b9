# Initial weights of the students, and of a B0 assistant: SegFormer-B0 on Cityscapes.
_base_ = [
    '../_base_/models/segformer_b0.py',
    '../_base_/datasets/cityscapes.py',
    '../_base_/schedules/cityscapes_160k.py',
    '../_base_/default_runtime.py',
]
checkpoint = 'https://mmassets.onedl.ai/mmsegmentation/v0.5/pretrain/segformer/mit_b0_20220624-7e0fe6dd.pth'
model = dict(
    data_preprocessor=dict(size=(1024, 1024)),
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint)),
    test_cfg=dict(mode='slide', crop_size=(1024, 1024), stride=(768, 768)),
)
