# GoodSAM on DensePASS in 13 classes, with a frozen OmniSAM (SAM 2.1 base+) as assistant: source_b_cs13.py has to be
# trained first, best also adapted to DensePASS. It has not been run. The windows are GoodSAM's; OmniSAM learns with a
# stride of 192 (model.grid.stride=192, and masks of tools/cache_sam.py --stride 192).
_base_ = '../goodsam_b0.py'
custom_imports = dict(
    imports=['stage2_distill.components', 'stage2_distill.omnisam.registered'], allow_failed_imports=False
)
space = 'cityscapes13'
student = {{_base_.student}}  # but for its classifier, which begins at random
model = dict(
    update_ta=False,
    student=dict(
        init_cfg=None,
        backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=student, prefix='backbone.')),
        decode_head=dict(num_classes=13, init_cfg=dict(type='Pretrained', checkpoint=student, prefix='decode_head.')),
    ),
    teacher_assistant=dict(
        _delete_=True,
        type='OmniSAM',
        size='b',
        num_classes=13,
        grid={{_base_.model.grid}},
        patch_size=1024,
        test_cfg=dict(laps='both'),
        # What it was trained with: GoodSAM normalises images for it, and has to do so in the same way.
        data_preprocessor=dict(
            type='PanoramaPreProcessor',
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            bgr_to_rgb=True,
        ),
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/source_b_cs13/iter_3720.pth'),
    ),
)
train_dataloader = dict(dataset=dict(label_space=space))
val_dataloader = dict(dataset=dict(label_space=space))
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='PerClassIoUMetric', iou_metrics=['mIoU'], model_space=space),
    dict(type='PerClassIoUMetric', iou_metrics=['mIoU'], model_space=space, predictor='ta_tile'),
    dict(type='PerClassIoUMetric', iou_metrics=['mIoU'], model_space=space, predictor='ta_slide'),
]
test_evaluator = val_evaluator
