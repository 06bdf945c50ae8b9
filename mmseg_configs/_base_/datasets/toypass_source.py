# The labelled pinhole source domain of ToyPASS (preset demo: 256x512), random crops of 192x384.
train_pipeline = [
    dict(type='LoadPanorama'),
    dict(type='LoadLabel'),
    dict(type='RandomResize', scale=(512, 256), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(192, 384), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackPanorama'),
]
test_pipeline = [
    dict(type='LoadPanorama'),
    dict(type='LoadLabel'),
    dict(type='PackPanorama'),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(type='CatalogueDataset', name='toypass_source', split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CatalogueDataset', name='toypass_source', split='val', pipeline=test_pipeline, test_mode=True),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='PerClassIoUMetric', iou_metrics=['mIoU'], model_space='cityscapes19')
test_evaluator = val_evaluator
