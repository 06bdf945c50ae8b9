# Your own panoramas with an ONNX network as frozen teacher assistant: docs/usage.md, custom panoramas.
# Panoramas of 200x1024: the view of DensePASS, 70 degrees from top to bottom, at half its size, which a CPU can train.
# Windows are enlarged to what the file takes. They cross the 0/360 degree seam, and panoramas are rolled at random.
_base_ = './goodsam_b0_own.py'
train_pipeline = [
    dict(type='LoadPanorama'),
    dict(type='LoadCachedMasks'),
    dict(type='LeaveOut', rows=(0, 0.1)),  # the lowest tenth, where the car is; or mask='roof.png', white where it is
    dict(type='RollPanorama', where_possible=True),
    dict(type='FlipPanorama', prob=0.5, where_possible=True),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackPanorama'),
]
train_dataloader = dict(batch_size=1, num_workers=1, dataset=dict(pipeline=train_pipeline))
model = dict(
    grid=dict(window=(200, 256), stride=128, wrap=True),
    update_ta=False,
    student=dict(backbone=dict(drop_path_rate=0.0), init_cfg=dict(checkpoint='goodsam://segformer_b0.safetensors')),
    teacher_assistant=dict(
        _delete_=True,
        type='OnnxAssistant',
        file='assistant.onnx',
        # class_ids=[...]: the Cityscapes class (0 to 18) of each output, 255 for none; default: output i is class i
        input_range=(0, 255),  # what black and white are for the file's network; also mean and std, in this range
    ),
)
optim_wrapper = dict(student=dict(optimizer=dict(lr=1e-4), clip_grad=dict(max_norm=1.0)))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=30),
    dict(type='PolyLR', eta_min=0.0, power=1.0, begin=30, by_epoch=False),
]
train_cfg = dict(max_iters=400)  # enough for some two dozen panoramas
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=100))
