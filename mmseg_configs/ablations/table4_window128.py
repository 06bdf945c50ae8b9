# Table 4: the assistant, untrained, in windows of 400x128.
# Score it with tools/test.py, without a checkpoint.
_base_ = '../goodsam_b0.py'
model = dict(grid=dict(window=(400, 128), stride=128), test_cfg=dict(predictors=('ta_tile',)))
