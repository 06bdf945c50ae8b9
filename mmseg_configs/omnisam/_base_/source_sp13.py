# SP13 -> DP13: trained and validated on SynPASS in 13 classes, tested on DensePASS's panoramas. SynPASS's panoramas
# have Cityscapes' size; a window shows 180 degrees of one.
_base_ = './source_cs13.py'
source = dict(name='synpass')
train_dataloader = dict(dataset=source)
val_dataloader = dict(dataset=source)
train_cfg = dict(max_iters=7130, val_interval=3565)  # 10 passes over 5700 images
