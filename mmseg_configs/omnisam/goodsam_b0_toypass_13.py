# GoodSAM on ToyPASS in 13 classes, with a frozen OmniSAM as assistant: source_toypass.py has to be trained first. An
# adapted OmniSAM is an assistant as well: name its checkpoint. Windows and masks are those of ../goodsam_b0_toypass.py;
# in OmniSAM's own training they lie closer together (stride 96).
_base_ = './goodsam_b0_toypass_13_segformer.py'
custom_imports = dict(
    imports=['stage2_distill.components', 'stage2_distill.omnisam.registered'], allow_failed_imports=False
)
model = dict(
    update_ta=False,
    teacher_assistant=dict(
        _delete_=True,
        type='OmniSAM',
        size='toy',
        num_classes=13,
        grid={{_base_.model.grid}},
        patch_size=256,
        test_cfg=dict(laps='both'),
        # What it was trained with: GoodSAM normalises images for it, and has to do so in the same way.
        data_preprocessor=dict(
            type='PanoramaPreProcessor',
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            bgr_to_rgb=True,
        ),
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/source_toypass/iter_600.pth'),
    ),
)
