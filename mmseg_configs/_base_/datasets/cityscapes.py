# The labelled pinhole source domain: Cityscapes, 1024x2048, random crops of 1024x1024.
train_pipeline = [
    dict(type='LoadPanorama'),
    dict(type='LoadLabel'),
    dict(type='RandomResize', scale=(2048, 1024), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(1024, 1024), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackPanorama'),
]
# Labels are loaded after the image is resized, because predictions are scored at the label's own size.
test_pipeline = [
    dict(type='LoadPanorama'),
    dict(type='Resize', scale=(2048, 1024), keep_ratio=True),
    dict(type='LoadLabel'),
    dict(type='PackPanorama'),
]
train_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(type='CatalogueDataset', name='cityscapes', split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CatalogueDataset', name='cityscapes', split='val', pipeline=test_pipeline, test_mode=True),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='PerClassIoUMetric', iou_metrics=['mIoU'], model_space='cityscapes19')
test_evaluator = val_evaluator
