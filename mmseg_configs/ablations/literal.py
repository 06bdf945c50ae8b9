# The literal reading of the loop: the forward pass of the assistant that is being trained also makes the labels.
# With it, rare classes can die out of labels and networks (docs/ablations.md).
_base_ = '../goodsam_b0.py'
model = dict(label_momentum=None)
