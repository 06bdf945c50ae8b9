# Table 3, row 8: L_CE^{T,TA}, L_CC, L_bd^{T,TA}, L_CE^{TA,S}, L_CE^{T,S}, L_bd^{T,S}: the whole method.
_base_ = '../goodsam_b0.py'
