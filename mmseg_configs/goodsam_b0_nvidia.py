# GoodSAM-M from NVIDIA's SegFormers, as Hugging Face has them: for non-commercial use. Any size by one line.
_base_ = './goodsam_b0.py'
b0 = dict(type='Pretrained', checkpoint='hf:nvidia/segformer-b0-finetuned-cityscapes-1024-1024')
b5 = dict(type='Pretrained', checkpoint='hf:nvidia/segformer-b5-finetuned-cityscapes-1024-1024')
model = dict(
    student=dict(_delete_=True, type='SegFormer', size='b0', layout='authors', init_cfg=b0),
    teacher_assistant=dict(_delete_=True, type='SegFormer', size='b5', layout='authors', init_cfg=b5),
)
