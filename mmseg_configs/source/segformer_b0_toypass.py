# Initial weights on ToyPASS, from scratch: SegFormer-B0 on its pinhole images.
_base_ = [
    '../_base_/models/segformer_b0.py',
    '../_base_/datasets/toypass_source.py',
    '../_base_/schedules/toypass_source.py',
    '../_base_/default_runtime.py',
]
# The weight of a class is the inverse square root of its share of the training images' pixels (tools/make_toypass.py
# prints the shares; preset demo, seed 0), scaled so that the mean over all pixels is 1.
class_weight = [
    *[0.52, 1.56, 0.61, 3.81, 4.61, 2.59, 3.90, 4.06, 0.99, 2.56],  # road to terrain
    *[0.83, 3.73, 4.01, 1.57, 3.16, 3.20, 4.24, 4.13, 3.52],  # sky to bicycle
]
model = dict(
    data_preprocessor=dict(size=(192, 384)),  # images smaller than the crop are padded to it
    backbone=dict(drop_path_rate=0.0),  # a short run from scratch
    # With class weights mmseg excludes ignored pixels from the mean in any case, and fails with avg_non_ignore.
    decode_head=dict(loss_decode=dict(class_weight=class_weight, avg_non_ignore=False)),
)
