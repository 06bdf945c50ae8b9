# ToyPASS with a B1 student. Its initial weights are yours to train:
# tools/train.py mmseg_configs/source/segformer_b1_toypass.py --amp, then tools/export_student.py with its best
# checkpoint and --out work_dirs/segformer_b1_toypass.safetensors.
_base_ = './goodsam_b0_toypass.py'
model = dict(
    student=dict(
        backbone=dict(embed_dims=64),
        decode_head=dict(in_channels=[64, 128, 320, 512]),
        init_cfg=dict(checkpoint='work_dirs/segformer_b1_toypass.safetensors'),
    )
)
