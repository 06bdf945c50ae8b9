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
    batch_size=2,  # of all GPUs: 1 on each of 2
    num_workers=4,
    persistent_workers=False,  # each round has workers of its own
    pin_memory=True,
    sampler=dict(type='DrawSampler', shuffle=True),
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
# The authors' weights of the source's classes are the first 13 of the 19 that ERFNet published, so that car has rider's:
# source_loss=dict(type='CrossEntropyLoss', avg_non_ignore=False, class_weight=[...]).
model = dict(num_classes=13, grid=grid)
