# Table 5: CTCF with a SegFormer-B5 assistant, untrained.
# Score it with tools/test.py, without a checkpoint.
_base_ = '../goodsam_b0.py'
model = dict(test_cfg=dict(predictors=('ta_tile', 'ensemble')))
