# SP13 -> DP13: from SynPASS in 13 classes to DensePASS's unlabelled panoramas. A window of SynPASS shows 180 degrees,
# one of DensePASS 90: equal places, not equal distortion.
_base_ = './adapt_cs13.py'
train_dataloader = dict(dataset=dict(source=dict(name='synpass')))
