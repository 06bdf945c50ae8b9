# SPin8 -> SPan8: trained and validated on Stanford2D3D's pinhole images in 8 classes, tested on its panoramas (fold 1).
# A pinhole image is one window, a sequence of one: the memory is not trained, as in the authors' code.
_base_ = './source_cs13.py'
# The rows that the authors keep: above and below no camera saw anything.
panorama_pipeline = [
    dict(type='LoadPanorama'),
    dict(type='LoadLabel'),
    dict(type='CropRows', top=320, bottom=1728),
    dict(type='PackPanorama'),
]
classes = dict(name='stanford2d3d', label_space='stanford8')
train_dataloader = dict(dataset=dict(**classes, split='pinhole_train'))
val_dataloader = dict(dataset=dict(**classes, split='pinhole_val'))
test_dataloader = dict(dataset=dict(**classes, pipeline=panorama_pipeline))
val_evaluator = dict(model_space='stanford8')
test_evaluator = val_evaluator
# A third of the panorama's width, 9 windows. The authors resize panoramas to 3072x1024 first, where a window is 1024
# wide; here predictions are scored at the labels' own size.
grid = [dict(window=(1080, 1080), stride=1080), dict(window=(1408, 1365), stride=342)]
model = dict(num_classes=8, grid=grid)
train_cfg = dict(max_iters=66000, val_interval=6600)
