# ToyPASS, half-size panoramas (preset demo): a B2 teacher assistant teaches a B0 student, both from weights of the
# source, on a short schedule. Panoramas show 360 degrees, so windows cross the seam and panoramas are rolled at random.
# The assistant is frozen, so that its labels are made once; model.update_ta=True trains it too (docs/ablations.md).
_base_ = './goodsam_b0.py'
student = 'goodsam://segformer_b0.safetensors'  # of the package: stage2_distill/weights
teacher_assistant = 'goodsam://segformer_b2_int8.safetensors'
# ToyPASS is for trying things out, so that masks of any generator will do: the toy SAM, SAM, Felzenszwalb's method,
# another tool (tools/cache_sam.py --import), and ToyPASS's true segments, as they are or damaged
# (tools/cache_truth.py), with boundary maps from masks of the overlap or cut from a window.
expected_cache = dict(
    generator=dict(name=['toy_sam', 'sam', 'felzenszwalb', 'imported', 'truth', 'simulated', 'sam2', 'toy_sam2']),
    boundary=dict(source=['crop', 'window']),
)
train_pipeline = [
    dict(type='LoadPanorama'),
    dict(type='LoadCachedMasks'),
    dict(type='RollPanorama'),
    dict(type='FlipPanorama', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackPanorama'),
]
train_dataloader = dict(
    batch_size=1, num_workers=1, dataset=dict(name='toypass', cache='cache/toypass', pipeline=train_pipeline)
)
val_dataloader = dict(num_workers=1, dataset=dict(name='toypass'))
test_dataloader = val_dataloader
model = dict(
    grid=dict(window=(200, 256), stride=128, wrap=True),
    update_ta=False,
    student=dict(backbone=dict(drop_path_rate=0.0), init_cfg=dict(checkpoint=student)),
    teacher_assistant=dict(
        backbone=dict(embed_dims=64, num_layers=[3, 4, 6, 3], drop_path_rate=0.0),
        decode_head=dict(in_channels=[64, 128, 320, 512]),
        init_cfg=dict(checkpoint=teacher_assistant),
    ),
)
optim_wrapper = dict(
    student=dict(optimizer=dict(lr=1e-4), clip_grad=dict(max_norm=1.0)),
    teacher_assistant=dict(clip_grad=dict(max_norm=1.0)),  # lr 6e-6, when update_ta is set
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type='PolyLR', eta_min=0.0, power=1.0, begin=20, by_epoch=False),
]
train_cfg = dict(max_iters=600, val_interval=600)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=100), label_guard=dict(interval=50))
