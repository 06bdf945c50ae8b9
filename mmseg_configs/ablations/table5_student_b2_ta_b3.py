# Table 5: a B2 student taught by a B3 assistant.
_base_ = '../goodsam_b2.py'
weights = (
    'https://mmassets.onedl.ai/mmsegmentation/v0.5/segformer/segformer_mit-b3_8x1_1024x1024_160k_cityscapes/'
    'segformer_mit-b3_8x1_1024x1024_160k_cityscapes_20211206_224823-a8f8a177.pth'
)
model = dict(teacher_assistant=dict(backbone=dict(num_layers=[3, 4, 18, 3]), init_cfg=dict(checkpoint=weights)))
