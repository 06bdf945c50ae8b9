# CS13 -> DP13: trained and validated on Cityscapes in 13 classes, tested on DensePASS's panoramas.
_base_ = './source.py'
train_pipeline = [
    dict(type='LoadPanorama'),
    dict(type='LoadLabel'),
    dict(type='DrawOrder'),
    dict(type='PackPanorama'),
]
test_pipeline = [dict(type='LoadPanorama'), dict(type='LoadLabel'), dict(type='PackPanorama')]
source = dict(type='CatalogueDataset', name='cityscapes', label_space='cityscapes13')
target = dict(type='CatalogueDataset', name='densepass', label_space='cityscapes13')
train_dataloader = dict(
    batch_size=4,  # of each of 2 GPUs
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DrawSampler', shuffle=True),
    dataset=dict(**source, split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**source, split='val', pipeline=test_pipeline, test_mode=True),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**target, split='val', pipeline=test_pipeline, test_mode=True),
)
val_evaluator = dict(type='PerClassIoUMetric', iou_metrics=['mIoU'], model_space='cityscapes13')
test_evaluator = val_evaluator
# Nine windows over each: half an image of Cityscapes, a quarter of a panorama of DensePASS.
grid = [dict(window=(1024, 1024), stride=128), dict(window=(400, 512), stride=192)]
model = dict(num_classes=13, grid=grid)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=3720, val_interval=1860)  # 10 passes over 2975 images on two GPUs
