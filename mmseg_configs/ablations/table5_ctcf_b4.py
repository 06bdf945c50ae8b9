# Table 5: CTCF with a SegFormer-B4 assistant, untrained.
# Score it with tools/test.py, without a checkpoint.
_base_ = '../goodsam_b0.py'
weights = (
    'https://mmassets.onedl.ai/mmsegmentation/v0.5/segformer/segformer_mit-b4_8x1_1024x1024_160k_cityscapes/'
    'segformer_mit-b4_8x1_1024x1024_160k_cityscapes_20211207_080709-07f6c333.pth'
)
model = dict(
    teacher_assistant=dict(
        backbone=dict(embed_dims=64, num_layers=[3, 8, 27, 3]),
        init_cfg=dict(checkpoint=weights),
    ),
    test_cfg=dict(predictors=('ta_tile', 'ensemble')),
)
