# GoodSAM-M: SegFormer-B0 student, B5 teacher assistant, DensePASS. Both start from OpenMMLab's Cityscapes weights.
_base_ = [
    './_base_/models/goodsam.py',
    './_base_/datasets/densepass_panoramas.py',
    './_base_/schedules/goodsam_40k.py',
    './_base_/goodsam_runtime.py',
]
weights = 'https://mmassets.onedl.ai/mmsegmentation/v0.5/segformer/'
student = weights + (
    'segformer_mit-b0_8x1_1024x1024_160k_cityscapes/'
    'segformer_mit-b0_8x1_1024x1024_160k_cityscapes_20211208_101857-e7f88502.pth'
)
teacher_assistant = weights + (
    'segformer_mit-b5_8x1_1024x1024_160k_cityscapes/'
    'segformer_mit-b5_8x1_1024x1024_160k_cityscapes_20211206_072934-87a052ec.pth'
)
model = dict(
    student=dict(init_cfg=dict(type='Pretrained', checkpoint=student)),
    teacher_assistant=dict(init_cfg=dict(type='Pretrained', checkpoint=teacher_assistant)),
)
