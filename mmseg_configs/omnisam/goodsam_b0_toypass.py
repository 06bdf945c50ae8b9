# GoodSAM on ToyPASS with a frozen OmniSAM as teacher assistant (source_toypass_19.py); else as
# ../goodsam_b0_toypass.py, whose assistant is a SegFormer-B2.
_base_ = '../goodsam_b0_toypass.py'
custom_imports = dict(
    imports=['stage2_distill.components', 'stage2_distill.omnisam.registered'], allow_failed_imports=False
)
model = dict(
    teacher_assistant=dict(
        _delete_=True,
        type='OmniSAM',
        size='toy',
        num_classes=19,
        grid={{_base_.model.grid}},
        patch_size=256,
        test_cfg=dict(laps='both'),
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/source_toypass_19/iter_600.pth'),
    ),
)
