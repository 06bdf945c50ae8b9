# GoodSAM with a SegFormer-B0 student and a B5 teacher assistant, as in the paper's ablations; B1 to B4 differ only in
# width and depth. Values are the paper's where it gives them, else the defaults of the open choices.
norm_cfg = dict(type='BN', requires_grad=True)  # distributed training makes it synchronous: sync_bn in default_runtime
segformer_b0 = dict(
    type='EncoderDecoder',
    backbone=dict(
        type='FusedMixVisionTransformer',  # mmseg's MixVisionTransformer, with fused attention
        in_channels=3,
        embed_dims=32,
        num_stages=4,
        num_layers=[2, 2, 2, 2],
        num_heads=[1, 2, 5, 8],
        patch_sizes=[7, 3, 3, 3],
        sr_ratios=[8, 4, 2, 1],
        out_indices=(0, 1, 2, 3),
        mlp_ratio=4,
        qkv_bias=True,
        drop_rate=0.0,
        attn_drop_rate=0.0,
        drop_path_rate=0.1,
    ),
    decode_head=dict(
        type='LevelwiseSegformerHead',  # mmseg's SegformerHead, in fewer products
        in_channels=[32, 64, 160, 256],
        in_index=[0, 1, 2, 3],
        channels=256,
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False),  # not used: the losses are MKAHead's
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
segformer_b5 = dict(
    segformer_b0,
    backbone=dict(segformer_b0['backbone'], embed_dims=64, num_layers=[3, 6, 40, 3]),
    decode_head=dict(segformer_b0['decode_head'], in_channels=[64, 128, 320, 512], channels=256),
)
model = dict(
    type='GoodSAM',
    data_preprocessor=dict(
        type='PanoramaPreProcessor',  # mmseg's, with non-blocking copies
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size_divisor=1,  # panoramas keep their size
    ),
    student=segformer_b0,
    teacher_assistant=segformer_b5,
    grid=dict(window=(400, 512), stride=256, wrap=False),
    ta_input_scale=1.0,
    update_ta=True,
    # Labels come from a moving average of the assistant, in evaluation mode. The paper does not say which pass of the
    # assistant makes them; made by the very pass that is trained (ablations/literal.py), rare classes can die out.
    label_momentum=0.999,
    schedule='joint',
    ctcf_head=dict(
        type='CTCFHead',
        fusion=dict(type='CTCF', theta_medium=0.7, theta_other=0.5, area_range=(100, 1000), entropy='region_mean'),
        refinement=dict(alpha=0.3, iterate='i'),
    ),
    mka_head=dict(
        type='MKAHead',
        ensemble_ta=1.0,  # L_CE^{T,TA}, Eq. 6
        consistency=1.0,  # L_CC, Eq. 1
        boundary_ta=1.0,  # L_bd^{T,TA}, Eq. 2
        whole_image=1.0,  # L_CE^{TA,S}, Eq. 4
        ensemble_student=1.0,  # L_CE^{T,S}, Eq. 5
        boundary_student=1.0,  # L_bd^{T,S}, Eq. 7
        lambda_ta=0.2,
        lambda_student=0.2,
        boundary_mode='ste',
    ),
    test_cfg=dict(predictors=('student', 'ta_tile', 'ta_slide')),
)
