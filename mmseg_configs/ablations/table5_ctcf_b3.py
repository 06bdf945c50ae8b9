# Table 5: CTCF with a SegFormer-B3 assistant, untrained.
# Score it with tools/test.py, without a checkpoint.
_base_ = '../goodsam_b0.py'
weights = (
    'https://mmassets.onedl.ai/mmsegmentation/v0.5/segformer/segformer_mit-b3_8x1_1024x1024_160k_cityscapes/'
    'segformer_mit-b3_8x1_1024x1024_160k_cityscapes_20211206_224823-a8f8a177.pth'
)
model = dict(
    teacher_assistant=dict(
        backbone=dict(embed_dims=64, num_layers=[3, 4, 18, 3]),
        init_cfg=dict(checkpoint=weights),
    ),
    test_cfg=dict(predictors=('ta_tile', 'ensemble')),
)
