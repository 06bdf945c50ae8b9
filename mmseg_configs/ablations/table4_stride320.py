# Table 4: windows every 320 columns; the assistant learns by L_CE^{T,TA} and L_CC, which without overlaps is 0.
_base_ = './table3_row5.py'
model = dict(grid=dict(stride=320))
# The windows of this stride are not mirror images of each other, so panoramas are not flipped.
train_pipeline = [
    dict(type='LoadPanorama'),
    dict(type='LoadCachedMasks'),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackPanorama'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
