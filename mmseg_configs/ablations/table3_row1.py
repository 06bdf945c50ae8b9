# Table 3, row 1: nothing is trained; student and assistant on whole panoramas.
#
# Score it with tools/test.py, without a checkpoint.
_base_ = '../goodsam_b0.py'
model = dict(test_cfg=dict(predictors=('student', 'ta_whole')))
