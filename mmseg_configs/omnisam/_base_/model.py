# OmniSAM: SAM 2's encoder with low-rank updates, memory along the windows, SegFormer's head. The values are the
# paper's where its code gives them; where paper and code part, the comment says so.
_base_ = '../../_base_/default_runtime.py'
custom_imports = dict(
    imports=['stage2_distill.components', 'stage2_distill.omnisam.registered'], allow_failed_imports=False
)
model = dict(
    type='OmniSAM',
    data_preprocessor=dict(
        type='PanoramaPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size_divisor=1,  # images keep their size; windows are resized to patches
    ),
    patch_size=1024,
    encoder='lora',
    rank=4,
    literal_rows=False,  # True updates only the rows that the authors' code updates where the width doubles
    checkpoint_encoder=False,  # True: less memory, a second forward pass of the encoder
    memory_slots=9,  # 0: no memory, "w/o MA"
    mask_input='class_ids',  # the authors'; its sigmoid tells few classes apart, see confidence, embedding, none
    step='sequence',  # 'patch': one optimizer step per patch, as the authors
    train_memory_share=1.0,  # the authors' second revision: 0.8
    reverse=0.5,
    loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    test_cfg=dict(mode='sequence', laps='both', rule='mean', threshold=None, memory='on'),
)
