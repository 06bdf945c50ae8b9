# ToyPASS (preset demo): from its pinhole images in 13 classes to its 160 unlabelled panoramas.
_base_ = './adapt_cs13.py'
train_dataloader = dict(
    batch_size=1,
    num_workers=2,
    pin_memory=False,
    dataset=dict(source=dict(name='toypass_source'), target=dict(name='toypass')),
)
val_dataloader = dict(num_workers=2, dataset=dict(name='toypass'))
test_dataloader = val_dataloader
grid = [dict(window=(256, 256), stride=32), dict(window=(200, 256), stride=96)]
model = dict(grid=grid, patch_size=256)
