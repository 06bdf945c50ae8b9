# Table 5: SSA with a SegFormer-B1 assistant, untrained.
# Score it with tools/test.py, without a checkpoint.
_base_ = './table5_ctcf_b1.py'
model = dict(ctcf_head=dict(fusion=dict(_delete_=True, type='SSAFusion')))
