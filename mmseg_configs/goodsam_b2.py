# GoodSAM-S: SegFormer-B2 student, B5 teacher assistant, DensePASS.
_base_ = './goodsam_b0.py'
student = (
    'https://mmassets.onedl.ai/mmsegmentation/v0.5/segformer/segformer_mit-b2_8x1_1024x1024_160k_cityscapes/'
    'segformer_mit-b2_8x1_1024x1024_160k_cityscapes_20211207_134205-6096669a.pth'
)
model = dict(
    student=dict(
        backbone=dict(embed_dims=64, num_layers=[3, 4, 6, 3]),
        decode_head=dict(in_channels=[64, 128, 320, 512]),
        init_cfg=dict(checkpoint=student),
    )
)
