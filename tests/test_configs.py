"""Every config of the project builds, and every GoodSAM config takes a training step at reduced size."""

from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, init_default_scope
from mmseg.registry import MODELS, TRANSFORMS
from mmseg.structures import SegDataSample

from stage1_sam_cache.data.catalog import DATASETS
from stage1_sam_cache.geometry.windows import WindowGrid
from stage2_distill import components  # noqa: F401
from stage2_distill.checkpoints.shipped_weights import locate
from stage2_distill.data.cached_masks import CachedMasks, mirrored_order
from stage2_distill.fusion.mask_atoms import MaskAtoms
from stage2_distill.training.cache_check import expected_settings
from stage2_distill.training.cache_command import cache_command

CONFIGS = ROOT / 'mmseg_configs'
GOODSAM = sorted([*CONFIGS.glob('goodsam_*.py'), *(CONFIGS / 'ablations').glob('*.py')])
OF_NETWORKS = [path for path in GOODSAM if path.stem != 'goodsam_b0_onnx']  # that one: tests/test_onnx_assistant.py
ROWS, NARROW = 50, 32  # of the reduced panoramas and windows: their rows, and the fewest columns of a window
NARROWER = 8  # of every width of a network


read_once = cache(Config.fromfile)


def read(path):
    init_default_scope('mmseg')
    return deepcopy(read_once(path))


def reduced(model):
    """The config's model with shallow and narrow networks and small windows."""
    for name in ('student', 'teacher_assistant'):
        backbone, head = dict(model[name].get('backbone', {})), dict(model[name].get('decode_head', {}))
        if 'embed_dims' in backbone:  # else they are those of a size
            backbone['embed_dims'] //= NARROWER
            head['in_channels'] = [width // NARROWER for width in head['in_channels']]
            head['channels'] //= NARROWER
        model[name].update(backbone={**backbone, 'num_layers': [1, 1, 1, 1]}, decode_head=head, init_cfg=None)
    grid = model.grid
    shrink = min(grid.window[0] // ROWS, grid.window[1] // NARROW)
    grid.window = tuple(side // shrink for side in grid.window)
    grid.stride = grid.stride // shrink
    return model


def panorama(grid):
    rng = np.random.default_rng(0)
    sample = SegDataSample(metainfo={'ori_shape': (grid.height, grid.width), 'img_shape': (grid.height, grid.width)})
    masks = [MaskAtoms.from_masks(rng.random((4, *grid.window)) < 0.4) for _ in grid.windows]
    edges = [torch.from_numpy(rng.random((o.box.height, o.box.width)) < 0.1) for o in grid.overlaps]
    sample.cached_masks = CachedMasks(grid, tuple(masks), tuple(edges))
    return sample


@pytest.mark.parametrize('path', OF_NETWORKS, ids=[path.stem for path in OF_NETWORKS])
def test_every_goodsam_config_takes_a_step(path):
    config = read(path)
    model = MODELS.build(reduced(config.model))
    size = (config.model.grid.window[0], 256)
    grid = model.windows.over(*size)
    optimizers = build_optim_wrapper(model, config.optim_wrapper)
    optimizers.initialize_count_status(model, 0, 10)
    data = {'inputs': [torch.randint(0, 256, (3, *size), dtype=torch.uint8)], 'data_samples': [panorama(grid)]}
    log = model.train().train_step(data, optimizers)
    assert all(torch.isfinite(value) for value in log.values())
    assert HOOKS.build(config.default_hooks.label_guard).interval == (50 if 'toypass' in path.stem else 500)
    weights = (model.mka_head.weights_ta if model.update_ta else {}) | model.mka_head.weights_student
    on = [name for name, weight in weights.items() if weight]
    assert [name for name in log if name.startswith(('loss_ce', 'loss_cc', 'loss_bd'))] == [f'loss_{n}' for n in on]


TABLE_3 = {
    4: {'ce_t_ta', 'ce_ta_s'},
    5: {'ce_t_ta', 'ce_ta_s', 'cc'},
    6: {'ce_t_ta', 'ce_ta_s', 'cc', 'bd_t_ta'},
    7: {'ce_t_ta', 'ce_ta_s', 'cc', 'bd_t_ta', 'ce_t_s'},
    8: {'ce_t_ta', 'ce_ta_s', 'cc', 'bd_t_ta', 'ce_t_s', 'bd_t_s'},
}


@pytest.mark.parametrize('row', TABLE_3)
def test_the_rows_of_table_3_have_the_papers_terms(row):
    head = read(CONFIGS / f'ablations/table3_row{row}.py').model.mka_head
    names = {
        'ensemble_ta': 'ce_t_ta', 'consistency': 'cc', 'boundary_ta': 'bd_t_ta', 'whole_image': 'ce_ta_s',
        'ensemble_student': 'ce_t_s', 'boundary_student': 'bd_t_s',
    }  # fmt: skip
    assert {names[key] for key in names if head[key]} == TABLE_3[row]
    assert {head[key] for key in names} <= {0.0, 1.0}


def test_the_windows_of_table_4_are_the_papers():
    grids = {path.stem: WindowGrid(400, 2048, **read(path).model.grid) for path in GOODSAM if 'table4' in path.stem}
    assert {name: len(grid.starts) for name, grid in grids.items()} == {
        'table4_window1024': 2, 'table4_window512': 4, 'table4_window256': 8, 'table4_window128': 16,
        'table4_stride512': 4, 'table4_stride400': 5, 'table4_stride320': 6, 'table4_stride256': 7,
    }  # fmt: skip


# The paper's Table 1, in millions; SegFormer's own code counts 24.7 for B2.
@pytest.mark.parametrize(('size', 'paper', 'ours'), [(0, 3.7, 3.7), (1, 14.0, 13.7), (2, 25.4, 24.7)])
def test_student_parameters(size, paper, ours):
    model = MODELS.build(read(CONFIGS / f'goodsam_b{size}.py').model)
    millions = [sum(p.numel() for p in net.parameters()) / 1e6 for net in (model.student, model.teacher_assistant)]
    assert millions[0] == pytest.approx(ours, abs=0.06)
    assert millions[0] == pytest.approx(paper, rel=0.03)
    assert millions[1] == pytest.approx(82.0, abs=0.1)


def test_the_papers_values_stand_in_the_base_config():
    config = read(CONFIGS / 'goodsam_b0.py')
    model = config.model
    assert WindowGrid(400, 2048, **model.grid).starts == [0, 256, 512, 768, 1024, 1280, 1536]
    assert (model.mka_head.lambda_ta, model.mka_head.lambda_student) == (0.2, 0.2)
    assert model.ctcf_head.refinement.alpha == 0.3
    fusion = model.ctcf_head.fusion
    assert (fusion.theta_medium, fusion.theta_other, fusion.area_range) == (0.7, 0.5, (100, 1000))
    assert model.ta_input_scale == 1


@pytest.mark.parametrize('path', GOODSAM, ids=[path.stem for path in GOODSAM])
def test_the_data_of_every_config_fits_its_model(path):
    config = read(path)
    for loader in filter(None, (config.train_dataloader, config.val_dataloader)):
        name = loader.dataset.name
        assert loader.dataset.images if name is None else loader.dataset.split in DATASETS[name].splits
        for step in loader.dataset.pipeline:
            TRANSFORMS.build(step)
    assert not config.train_dataloader.dataset.labelled
    steps = [step['type'] for step in config.train_dataloader.dataset.pipeline]
    size = (200, 1024) if 'toypass' in path.stem or 'onnx' in path.stem else (400, 2048)
    if 'FlipPanorama' in steps:
        mirrored_order(WindowGrid(*size, **config.model.grid))
    for name in ('student', 'teacher_assistant'):
        if config.model[name].type == 'OnnxAssistant':
            continue
        start = config.model[name].init_cfg.checkpoint
        # What work_dirs/ holds, the user trains; the config says how.
        assert start.startswith(('https://', 'work_dirs/', 'hf:nvidia/segformer-b')) or Path(locate(start)).is_file()
    assert config.train_dataloader.dataset.split in (None, 'train')


def test_the_cache_command_of_a_config_is_the_one_of_the_readme():
    def command(name):
        config = read(CONFIGS / f'{name}.py')
        return cache_command({**config.train_dataloader.dataset, 'expect': expected_settings(config)})

    assert command('goodsam_b0') == 'tools/cache_sam.py --dataset densepass --out cache/densepass'
    assert command('goodsam_b1_wildpass') == 'tools/cache_sam.py --dataset wildpass --out cache/wildpass'
    assert command('goodsam_b0_toypass') == (
        'tools/cache_sam.py --dataset toypass --sam toy --window 200x256 --stride 128 --wrap --out cache/toypass'
    )
    assert command('goodsam_b0_own') == 'tools/cache_sam.py --images data/panoramas --out cache/panoramas'
    assert command('ablations/table4_stride400') == (
        'tools/cache_sam.py --dataset densepass --stride 400 --out cache/densepass'
    )


def test_labels_come_from_a_moving_average_unless_a_config_is_called_literal():
    momenta = {path.stem: read(path).model.label_momentum for path in GOODSAM}
    assert {name: momentum for name, momentum in momenta.items() if momentum != 0.999} == {
        name: None for name in momenta if name.startswith('literal')
    }
    assert sum(momentum is None for momentum in momenta.values()) == 2
