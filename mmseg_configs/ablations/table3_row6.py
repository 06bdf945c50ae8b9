# Table 3, row 6: L_CE^{T,TA}, L_CC, L_bd^{T,TA}, L_CE^{TA,S}.
_base_ = '../goodsam_b0.py'
model = dict(mka_head=dict(ensemble_student=0.0, boundary_student=0.0))
