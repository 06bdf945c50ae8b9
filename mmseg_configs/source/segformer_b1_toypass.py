# SegFormer-B1 on the pinhole images of ToyPASS, from scratch; meant for a GPU.
_base_ = './segformer_b0_toypass.py'
model = dict(
    backbone=dict(embed_dims=64),
    decode_head=dict(in_channels=[64, 128, 320, 512]),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
