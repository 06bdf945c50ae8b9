# GoodSAM on ToyPASS in 13 classes, with the SegFormer-B2 of ../goodsam_b0_toypass.py as assistant: what
# goodsam_b0_toypass_13.py is compared with. The assistant's 19 classes are merged to 13; the student takes the
# weights of B0 but for its classifier, which begins at random.
_base_ = '../goodsam_b0_toypass.py'
space = 'cityscapes13'
student = 'goodsam://segformer_b0.safetensors'
model = dict(
    student=dict(
        init_cfg=None,
        backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=student, prefix='backbone.')),
        decode_head=dict(num_classes=13, init_cfg=dict(type='Pretrained', checkpoint=student, prefix='decode_head.')),
    ),
    teacher_assistant=dict(
        _delete_=True,
        type='MergedClasses',
        network={{_base_.model.teacher_assistant}},
        source='cityscapes19',
        target=space,
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
