"""OmniSAM inside GoodSAM in 13 classes, from the command lines: the project's config at tiny size."""

import json

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from PIL import Image

from stage1_sam_cache.data.label_spaces import LABEL_SPACES
from stage2_distill.checkpoints.fit import check_initial_weights, weights_in
from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint, load_any, use_safe_loaders

CONFIGS = ROOT / 'mmseg_configs/omnisam'
CLASSES = list(LABEL_SPACES['cityscapes13'].classes)


def tiny(name, data, cache):
    """A config of the folder over tiny panoramas, with a student of random weights."""
    return f"""
_base_ = '{CONFIGS}/{name}.py'
model = dict(
    grid=dict(window=(100, 128), stride=64),
    student=dict(
        backbone=dict(embed_dims=8, num_layers=[1, 1, 1, 1], init_cfg=None),
        decode_head=dict(in_channels=[8, 16, 40, 64], channels=32, init_cfg=None),
    ),
)
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(root='{data}', cache='{cache}'))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(root='{data}'))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=4, val_interval=4)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2, max_keep_ckpts=-1))
"""


@pytest.fixture(scope='module')
def config(tiny_toypass, tiny_caches, tmp_path_factory):
    """GoodSAM with an OmniSAM whose weights are random, in the place of a trained one."""
    pytest.importorskip('sam2')
    init_default_scope('mmseg')
    folder = tmp_path_factory.mktemp('omnisam')
    settings = Config.fromfile(CONFIGS / 'goodsam_b0_toypass_13.py').model.teacher_assistant
    torch.manual_seed(5)
    omnisam = MODELS.build({**settings, 'init_cfg': None})
    torch.save({'state_dict': omnisam.state_dict(), 'meta': {}}, folder / 'omnisam.pth')
    own = f"teacher_assistant=dict(patch_size=64, init_cfg=dict(checkpoint='{folder}/omnisam.pth')),\n)\ntrain_data"
    text = tiny('goodsam_b0_toypass_13', tiny_toypass[0], tiny_caches['train'])
    (folder / 'tiny.py').write_text(text.replace(')\ntrain_data', '    ' + own, 1))
    return folder / 'tiny.py'


def test_a_student_learns_and_is_scored_in_13_classes(config, tiny_toypass, tiny_caches, run_tool, tmp_path):
    work = tmp_path / 'work'
    options = ('--work-dir', work, '--cfg-options', 'val_cfg=None', 'val_dataloader=None', 'val_evaluator=None')
    ran = run_tool('train.py', config, *options, 'train_cfg.max_iters=2')
    assert ran.returncode == 0, ran.stderr[-2000:]
    ran = run_tool('train.py', config, '--resume', *options)
    assert ran.returncode == 0, ran.stderr[-2000:]
    last = check_checkpoint(str(work / 'iter_4.pth'))
    assert list(last['meta']['dataset_meta']['classes']) == CLASSES
    assert last['state_dict']['student.decode_head.conv_seg.weight'].shape[0] == 13
    frozen = torch.load(config.with_name('omnisam.pth'), weights_only=True)['state_dict']
    assert all(torch.equal(value, last['state_dict'][f'teacher_assistant.{name}']) for name, value in frozen.items())

    out, made = tmp_path / 'scores.json', tmp_path / 'made'
    chosen = ('--predictor', 'student', 'ta_tile', 'ta_slide', 'ensemble', '--cache', tiny_caches['val'])
    ran = run_tool('test.py', config, work / 'iter_4.pth', *chosen, '--limit', '1', '--work-dir', work, '--out', out)
    assert ran.returncode == 0, ran.stderr[-2000:]
    scores = {score['mode']: score for score in json.loads(out.read_text())['scores']}
    assert list(scores) == ['student', 'ta_tile', 'ta_slide', 'ensemble']
    images = ('--dataset', 'toypass', '--split', 'val', '--data-root', tiny_toypass[0], '--shard', '0/4')
    ran = run_tool('predict.py', config, work / 'iter_4.pth', *images, '--out', made, '--format', 'coco')
    assert ran.returncode == 0, ran.stderr[-2000:]
    (labels,) = (made / 'labels').rglob('*.png')
    assert set(np.unique(np.asarray(Image.open(labels)))) <= set(range(13))
    assert [each['name'] for each in json.loads((made / 'coco.json').read_text())['categories']] == CLASSES


def test_assistant_ctcf_and_ssa_are_scored_side_by_side(config, tiny_toypass, tiny_caches, run_tool, tmp_path):
    found = tmp_path / 'found.json'
    data = ('--data', tiny_toypass[0], '--limit', '1', '--json', found)
    ran = run_tool('score_masks.py', tiny_caches['val'], '--config', config, *data)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert 'the assistant alone, in tiled windows, has an mIoU of' in ran.stdout
    assert all(f' | {fusion} | ' in ran.stdout for fusion in ('CTCF', 'CTCF, level means', 'SSA'))
    (row,) = json.loads(found.read_text())
    assert 0 <= row['assistant'] <= 100 and row['ensembles']['SSA']['reliable'] == pytest.approx(100)


def test_its_labels_are_exported_with_the_13_classes(config, run_tool, tmp_path):
    ran = run_tool('export_labels.py', config, '--out', tmp_path / 'labels')
    assert ran.returncode == 0, ran.stderr[-2000:]
    about = json.loads((tmp_path / 'labels/goodsam_labels.json').read_text())
    assert about['classes'] == CLASSES and about['images'] == 4
    for file in (tmp_path / 'labels/ann_dir').rglob('*.png'):
        assert set(np.unique(np.asarray(Image.open(file)))) <= {*range(13), 255}


def test_another_normalisation_is_refused_in_one_line(config, run_tool, tmp_path):
    mean = 'model.data_preprocessor.mean=[0,0,0]'
    ran = run_tool('train.py', config, '--work-dir', tmp_path, '--cfg-options', mean)
    assert ran.returncode == 2
    last = ran.stderr.strip().splitlines()[-1]
    assert 'images have mean [0.0, 0.0, 0.0]' in last and 'the teacher assistant learned with mean [123.675' in last


@pytest.mark.parametrize('name', ['toypass_13_segformer', 'toypass_13', '13'])
def test_all_parts_of_a_config_have_13_classes(name):
    config = Config.fromfile(CONFIGS / f'goodsam_b0_{name}.py')
    assert config.model.student.decode_head.num_classes == 13
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        assert loader.dataset.label_space == 'cityscapes13'
    predictors = [metric.get('predictor', 'student') for metric in config.test_evaluator]
    assert predictors == ['student', 'ta_tile', 'ta_slide'] and config.val_evaluator == config.test_evaluator
    assert {metric.model_space for metric in config.test_evaluator} == {'cityscapes13'}
    plain = Config.fromfile(ROOT / f'mmseg_configs/goodsam_b0{"_toypass" if "toypass" in name else ""}.py')
    assert config.model.grid == plain.model.grid and config.expected_cache == plain.expected_cache
    assistant = config.model.teacher_assistant
    if assistant.type == 'MergedClasses':
        assert assistant.network == plain.model.teacher_assistant and assistant.target == 'cityscapes13'
        return
    source = Config.fromfile(CONFIGS / f'source_{"toypass" if "toypass" in name else "b_cs13"}.py').model
    assert not config.model.update_ta and assistant.grid == config.model.grid
    for key in ('type', 'size', 'num_classes', 'patch_size'):
        assert assistant[key] == source[key]
    for key in ('mean', 'std', 'bgr_to_rgb'):
        assert assistant.data_preprocessor[key] == source.data_preprocessor[key] == config.model.data_preprocessor[key]


def test_student_and_segformer_begin_with_the_weights_of_19_classes():
    init_default_scope('mmseg')
    use_safe_loaders()
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(CONFIGS / 'goodsam_b0_toypass_13_segformer.py').model)
    check_initial_weights(model)
    model.init_weights()
    given = load_any('goodsam://segformer_b0.safetensors')
    given = {name: value.float() for name, value in weights_in(given).items()}
    own = model.student.state_dict()
    classifier = {name for name in own if 'conv_seg' in name}
    assert len(classifier) == 2 and own.keys() == given.keys()
    assert all(torch.equal(own[name], given[name]) for name in own.keys() - classifier if own[name].is_floating_point())
    assert {len(own[name]) for name in classifier} == {13} and {len(given[name]) for name in classifier} == {19}
    assert len(model.teacher_assistant.network.decode_head.conv_seg.weight) == 19
