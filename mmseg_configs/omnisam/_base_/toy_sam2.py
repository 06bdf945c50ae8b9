# Both parts of the toy SAM 2's training: all of the encoder, from random weights, on ToyPASS's pinhole images.
_base_ = './source_toypass.py'
# The weight of a class is the inverse square root of its share of the training images' pixels, as in
# source/segformer_b0_toypass.py, for 13 classes, scaled so that the mean over all pixels is 1.
class_weight = [0.59, 1.77, 0.69, 4.33, 5.23, 2.94, 4.42, 4.60, 1.13, 2.91, 0.94, 3.10, 1.31]
model = dict(
    size='toy',
    weights=None,
    encoder='full',
    step='sequence',
    loss_decode=dict(class_weight=class_weight, avg_non_ignore=False),
)
