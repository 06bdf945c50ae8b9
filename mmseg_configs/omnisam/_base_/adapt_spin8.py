# SPin8 -> SPan8: from Stanford2D3D's pinhole images in 8 classes to its panoramas (fold 1), without their labels.
_base_ = './adapt_cs13.py'
# The rows that the authors keep: above and below no camera saw anything.
target_pipeline = [
    dict(type='LoadPanorama'),
    dict(type='CropRows', top=320, bottom=1728),
    dict(type='LoadPseudoLabel'),  # labels are of cropped panoramas
    dict(type='DrawOrder'),
    dict(type='PackPanorama'),
]
test_pipeline = [
    dict(type='LoadPanorama'),
    dict(type='LoadLabel'),
    dict(type='CropRows', top=320, bottom=1728),
    dict(type='PackPanorama'),
]
classes = dict(name='stanford2d3d', label_space='stanford8')
train_dataloader = dict(
    dataset=dict(
        source=dict(**classes, split='pinhole_train'),
        target=dict(**classes, pipeline=target_pipeline),
        source_images=9,  # as many as a panorama has windows
    )
)
val_dataloader = dict(dataset=dict(**classes, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(model_space='stanford8')
test_evaluator = val_evaluator
grid = [dict(window=(1080, 1080), stride=1080), dict(window=(1408, 1365), stride=342)]
# A pinhole image has no place in a panorama. The authors index by step, with nine unrelated images: index='step'.
model = dict(num_classes=8, grid=grid, prototypes=dict(index='class'))
