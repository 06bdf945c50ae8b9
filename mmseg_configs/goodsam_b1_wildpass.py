# goodsam_b1.py on WildPASS: 2000 unlabelled panoramas of WildPASS2K, scored on the six classes that Cityscapes shares.
_base_ = ['./goodsam_b1.py']
train_dataloader = dict(dataset=dict(name='wildpass', label_space='cityscapes19', cache='cache/wildpass'))
val_dataloader = dict(dataset=dict(name='wildpass', label_space='wildpass6'))
test_dataloader = val_dataloader
