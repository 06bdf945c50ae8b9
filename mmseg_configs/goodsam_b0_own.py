# Your own panoramas, without labels: tools/cache_sam.py --images data/panoramas, then tools/train.py with this.
_base_ = './goodsam_b0.py'
# Masks of SAM, of Felzenszwalb's method, which needs no weights (tools/cache_sam.py --generator felzenszwalb), or of
# another tool (tools/cache_sam.py --import).
expected_cache = dict(generator=dict(name=['sam', 'felzenszwalb', 'imported', 'sam2']))
# Panoramas of any width: those whose mirrored windows are no windows are not mirrored, and a warning says so.
train_pipeline = [
    dict(type='LoadPanorama'),
    dict(type='LoadCachedMasks'),
    dict(type='FlipPanorama', prob=0.5, where_possible=True),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackPanorama'),
]
train_dataloader = dict(
    dataset=dict(name=None, split=None, images='data/panoramas', cache='cache/panoramas', pipeline=train_pipeline)
)
val_dataloader = None
val_cfg = None
val_evaluator = None
test_dataloader = None
test_cfg = None
test_evaluator = None
default_hooks = dict(checkpoint=dict(save_best=None))
