# ToyPASS with a B2 student, which starts from the same weights as its assistant.
_base_ = './goodsam_b0_toypass.py'
model = dict(
    student=dict(
        backbone=dict(embed_dims=64, num_layers=[3, 4, 6, 3]),
        decode_head=dict(in_channels=[64, 128, 320, 512]),
        init_cfg=dict(checkpoint='goodsam://segformer_b2_int8.safetensors'),
    )
)
