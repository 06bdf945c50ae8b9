# Table 3, row 5: L_CE^{T,TA}, L_CC, L_CE^{TA,S}.
_base_ = '../goodsam_b0.py'
model = dict(mka_head=dict(boundary_ta=0.0, ensemble_student=0.0, boundary_student=0.0))
