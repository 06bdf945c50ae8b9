# DensePASS: 2000 unlabelled panoramas with their cached masks, 100 labelled ones for scoring.
# What the mask cache must have been made with, beside the model's windows and thickness of boundary maps. A list names
# alternatives. Masks of any SAM will do: the run's log names model and settings.
expected_cache = dict(
    generator=dict(name='sam'),
    boundary=dict(source='crop', rule='labels'),
    order='area_desc',
)
train_pipeline = [
    dict(type='LoadPanorama'),
    dict(type='LoadCachedMasks'),
    dict(type='FlipPanorama', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackPanorama'),
]
test_pipeline = [dict(type='LoadPanorama'), dict(type='LoadLabel'), dict(type='PackPanorama')]
train_dataloader = dict(
    batch_size=4,  # of each GPU; 1 on four GPUs gives the same training run
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DrawSampler', shuffle=True),
    dataset=dict(
        type='CatalogueDataset',
        name='densepass',
        split='train',
        labelled=False,
        cache='cache/densepass',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CatalogueDataset', name='densepass', split='val', pipeline=test_pipeline, test_mode=True),
)
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='PerClassIoUMetric', iou_metrics=['mIoU'], model_space='cityscapes19'),
    dict(type='PerClassIoUMetric', iou_metrics=['mIoU'], model_space='cityscapes19', predictor='ta_tile'),
    dict(type='PerClassIoUMetric', iou_metrics=['mIoU'], model_space='cityscapes19', predictor='ta_slide'),
]
test_evaluator = val_evaluator
