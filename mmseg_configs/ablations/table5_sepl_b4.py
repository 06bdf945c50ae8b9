# Table 5: SEPL with a SegFormer-B4 assistant, untrained.
# Score it with tools/test.py, without a checkpoint.
_base_ = './table5_ctcf_b4.py'
model = dict(ctcf_head=dict(fusion=dict(_delete_=True, type='SEPLFusion')))
