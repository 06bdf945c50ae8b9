# OmniSAM's adaptation to ToyPASS's panoramas, from a model of source_toypass.py (--load-from).
_base_ = './_base_/adapt_toypass.py'
# One step per sequence, with a higher rate than the authors' step per patch.
model = dict(size='toy', step='sequence')
optim_wrapper = dict(optimizer=dict(lr=1e-4), clip_grad=dict(max_norm=1.0))
# A round of 40 and four of 20 panoramas, each once: 120 sequences.
train_cfg = dict(max_iters=120, val_interval=40)
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=20),
    rounds=dict(first=40, later=20, first_iters=40, iters_per_round=20),
)
