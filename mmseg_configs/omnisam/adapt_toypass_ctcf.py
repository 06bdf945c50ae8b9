# As adapt_toypass.py, but labels are made by instances: CTCF with the toy SAM's masks of OmniSAM's windows,
# tools/cache_sam.py --dataset toypass --window 200x256 --stride 96 --sam toy --level fp32-fast --overlap-source window
#     --out cache/toypass_96
_base_ = './adapt_toypass.py'
target_pipeline = [
    dict(type='LoadPanorama'),
    dict(type='LoadCachedMasks'),
    dict(type='LoadPseudoLabel'),
    dict(type='DrawOrder'),
    dict(type='PackPanorama'),
]
train_dataloader = dict(dataset=dict(target=dict(cache='cache/toypass_96', pipeline=target_pipeline)))
default_hooks = dict(rounds=dict(labelling=dict(rule='ctcf')))  # or 'ssa'
