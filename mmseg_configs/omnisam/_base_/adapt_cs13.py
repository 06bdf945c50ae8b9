# CS13 -> DP13: from Cityscapes in 13 classes to DensePASS's 2000 unlabelled panoramas.
_base_ = './adapt.py'
source_pipeline = [
    dict(type='LoadPanorama'),
    dict(type='LoadLabel'),
    dict(type='DrawOrder'),
    dict(type='PackPanorama'),
]
target_pipeline = [
    dict(type='LoadPanorama'),
    dict(type='LoadPseudoLabel'),
    dict(type='DrawOrder'),
    dict(type='PackPanorama'),
]
test_pipeline = [dict(type='LoadPanorama'), dict(type='LoadLabel'), dict(type='PackPanorama')]
source = dict(type='CatalogueDataset', name='cityscapes', label_space='cityscapes13')
target = dict(type='CatalogueDataset', name='densepass', label_space='cityscapes13')
train_dataloader = dict(
    batch_size=2,  # of one GPU; 1 on each of two is the same
    num_workers=4,
    persistent_workers=False,  # each round has workers of its own
    pin_memory=True,
    sampler=dict(type='PairedSampler', shuffle=True),
    dataset=dict(
        type='PairedDataset',
        source=dict(**source, split='train', pipeline=source_pipeline),
        target=dict(**target, split='train', labelled=False, pipeline=target_pipeline),
        source_images=1,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**target, split='val', pipeline=test_pipeline, test_mode=True),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='PerClassIoUMetric', iou_metrics=['mIoU'], model_space='cityscapes13')
test_evaluator = val_evaluator
# Nine windows over each: half an image of Cityscapes, a quarter of a panorama of DensePASS.
grid = [dict(window=(1024, 1024), stride=128), dict(window=(400, 512), stride=192)]
# The authors' first revision weights the source's classes by the first 13 of the 19 weights that ERFNet published, so
# that car has rider's: source_loss=dict(type='CrossEntropyLoss', class_weight=[2.815, 6.985, 3.789, 9.943, 9.770,
# 9.511, 10.311, 10.026, 4.632, 9.561, 7.870, 9.517, 10.374]).
model = dict(num_classes=13, grid=grid)
