# OmniSAM's source training on ToyPASS in all 19 classes, for goodsam_b0_toypass.py of this folder.
_base_ = './source_toypass.py'
space = 'cityscapes19'
train_dataloader = dict(dataset=dict(label_space=space))
val_dataloader = dict(dataset=dict(label_space=space))
test_dataloader = dict(dataset=dict(label_space=space))
val_evaluator = dict(model_space=space)
test_evaluator = val_evaluator
model = dict(num_classes=19)
