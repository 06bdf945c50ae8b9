# SegFormer-B1 on Cityscapes.
_base_ = './segformer_b0_cityscapes.py'
checkpoint = 'https://mmassets.onedl.ai/mmsegmentation/v0.5/pretrain/segformer/mit_b1_20220624-02e5a6a1.pth'
model = dict(
    backbone=dict(embed_dims=64, init_cfg=dict(checkpoint=checkpoint)),
    decode_head=dict(in_channels=[64, 128, 320, 512]),
)
