# The literal reading of the loop on ToyPASS: the assistant is trained, and the pass that is trained makes the labels.
_base_ = '../goodsam_b0_toypass.py'
model = dict(update_ta=True, label_momentum=None)
