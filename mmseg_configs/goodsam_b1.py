# GoodSAM-T: SegFormer-B1 student, B5 teacher assistant, DensePASS.
_base_ = './goodsam_b0.py'
student = (
    'https://mmassets.onedl.ai/mmsegmentation/v0.5/segformer/segformer_mit-b1_8x1_1024x1024_160k_cityscapes/'
    'segformer_mit-b1_8x1_1024x1024_160k_cityscapes_20211208_064213-655c7b3f.pth'
)
model = dict(
    student=dict(
        backbone=dict(embed_dims=64),
        decode_head=dict(in_channels=[64, 128, 320, 512]),
        init_cfg=dict(checkpoint=student),
    )
)
