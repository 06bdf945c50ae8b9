# OmniSAM's source training with SAM 2.1 base+ on Cityscapes in all 19 classes, for goodsam_b0.py of this folder.
_base_ = './source_b_cs13.py'
space = 'cityscapes19'
train_dataloader = dict(dataset=dict(label_space=space))
val_dataloader = dict(dataset=dict(label_space=space))
test_dataloader = dict(dataset=dict(label_space=space))
val_evaluator = dict(model_space=space)
test_evaluator = val_evaluator
model = dict(num_classes=19)
