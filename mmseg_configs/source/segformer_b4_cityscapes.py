# SegFormer-B4 on Cityscapes.
_base_ = './segformer_b0_cityscapes.py'
checkpoint = 'https://mmassets.onedl.ai/mmsegmentation/v0.5/pretrain/segformer/mit_b4_20220624-d588d980.pth'
model = dict(
    backbone=dict(embed_dims=64, num_layers=[3, 8, 27, 3], init_cfg=dict(checkpoint=checkpoint)),
    decode_head=dict(in_channels=[64, 128, 320, 512]),
)
