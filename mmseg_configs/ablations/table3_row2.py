# Table 3, row 2: nothing is trained; the assistant in windows.
# Score it with tools/test.py, without a checkpoint.
_base_ = '../goodsam_b0.py'
model = dict(test_cfg=dict(predictors=('student', 'ta_tile')))
