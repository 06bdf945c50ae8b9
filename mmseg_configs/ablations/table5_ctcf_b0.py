# Table 5: CTCF with a SegFormer-B0 assistant, untrained.
# Score it with tools/test.py, without a checkpoint.
_base_ = '../goodsam_b0.py'
weights = (
    'https://mmassets.onedl.ai/mmsegmentation/v0.5/segformer/segformer_mit-b0_8x1_1024x1024_160k_cityscapes/'
    'segformer_mit-b0_8x1_1024x1024_160k_cityscapes_20211208_101857-e7f88502.pth'
)
model = dict(
    teacher_assistant=dict(
        backbone=dict(embed_dims=32, num_layers=[2, 2, 2, 2]),
        decode_head=dict(in_channels=[32, 64, 160, 256]),
        init_cfg=dict(checkpoint=weights),
    ),
    test_cfg=dict(predictors=('ta_tile', 'ensemble')),
)
