# GoodSAM with a frozen OmniSAM (SAM 2.1 base+, source_b_cs19.py) as assistant on DensePASS. It has not been run.
_base_ = '../goodsam_b0.py'
custom_imports = dict(
    imports=['stage2_distill.components', 'stage2_distill.omnisam.registered'], allow_failed_imports=False
)
model = dict(
    update_ta=False,
    teacher_assistant=dict(
        _delete_=True,
        type='OmniSAM',
        size='b',
        num_classes=19,
        grid={{_base_.model.grid}},  # GoodSAM's
        patch_size=1024,
        test_cfg=dict(laps='both'),
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/source_b_cs19/iter_3720.pth'),
    ),
)
