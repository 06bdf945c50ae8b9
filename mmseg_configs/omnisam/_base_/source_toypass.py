# ToyPASS (preset demo): trained and validated on its pinhole images in 13 classes, tested on its panoramas.
_base_ = './source_cs13.py'
train_dataloader = dict(
    batch_size=2, num_workers=2, pin_memory=False, dataset=dict(name='toypass_source', split='train')
)
val_dataloader = dict(num_workers=2, dataset=dict(name='toypass_source'))
test_dataloader = dict(num_workers=2, dataset=dict(name='toypass'))
# As in the paper nine windows each: half a pinhole image, a quarter of a panorama.
grid = [dict(window=(256, 256), stride=32), dict(window=(200, 256), stride=96)]
model = dict(grid=grid, patch_size=256)
train_cfg = dict(max_iters=600, val_interval=300)
