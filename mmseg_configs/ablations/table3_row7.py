# Table 3, row 7: L_CE^{T,TA}, L_CC, L_bd^{T,TA}, L_CE^{TA,S}, L_CE^{T,S}.
_base_ = '../goodsam_b0.py'
model = dict(mka_head=dict(boundary_student=0.0))
