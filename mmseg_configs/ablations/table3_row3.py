# Table 3, row 3: nothing is trained; ensemble labels of CTCF.
# Score it with tools/test.py, without a checkpoint.
_base_ = '../goodsam_b0.py'
model = dict(test_cfg=dict(predictors=('student', 'ta_tile', 'ensemble')))
