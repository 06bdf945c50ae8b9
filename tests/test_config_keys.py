"""Keys of a config that nothing reads, and what a frozen assistant's lessons must not depend on."""

import pytest
from conftest import ROOT
from mmengine.config import Config

from stage2_distill.errors import ConfigError
from stage2_distill.training.checked_runner import ConfigDatasets
from stage2_distill.training.config_keys import check_loops, misspelt
from stage2_distill.training.experiment import build_runner, read_config
from stage2_distill.training.rate_schedule import run_length

CONFIG = str(ROOT / 'mmseg_configs/goodsam_b0_toypass.py')


@pytest.mark.parametrize(
    ('key', 'message'),
    [
        ('modle.x', 'modle is read by nothing; was model meant'),
        ('expectd_cache.order', 'expectd_cache is read by nothing; was expected_cache meant'),
        ('batch_size', 'was train_dataloader.batch_size meant'),
        ('student', 'student is a variable of the config file, and nothing reads it later; was model.student meant'),
        ('train_cfg.max_iter', 'train_cfg has no max_iter; was max_iters meant'),
        ('train_dataloader.num_worker', 'was num_workers meant'),
        ('train_dataloader.dataset.image', 'was images meant'),  # an argument that the config does not give
        ('optim_wrapper.student.optimizer.lrr', 'was lr meant'),
        ('default_hooks.chekpoint.interval', 'was checkpoint meant'),
    ],
)
def test_a_misspelt_key_of_the_command_line_is_refused_with_the_nearest(key, message):
    with pytest.raises(ConfigError, match=f'^--cfg-options {key}: .*{message}'):
        read_config(CONFIG, {key: '1'})


def test_keys_that_a_config_lacks_and_something_reads_are_set():
    keys = ('load_from', 'train_dataloader.dataset.images', 'train_dataloader.prefetch_factor', 'model.wrap_columns')
    keys += ('default_hooks.early', 'custom_hooks.0.x', 'model.student.backbone.with_cp', 'auto_scale_lr.enable')
    keys += ('optim_wrapper.student.paramwise_cfg.custom_keys.norm1.lr_mult', 'test_dataloader.dataset.label_ids.12')
    assert read_config(CONFIG, dict.fromkeys(keys, '1')).model.wrap_columns == 1


def test_a_file_may_define_any_names_and_is_warned_of_those_that_look_like_known_ones(tmp_path):
    own = tmp_path / 'own.py'
    own.write_text(
        f"_base_ = '{CONFIG}'\ncrop_size = 3\ndata_root = 'x'\ntrain_dataset = dict()\nexpectd_cache = dict()\n"
    )
    assert misspelt(Config.fromfile(own)) == [f'{own}: nothing reads expectd_cache; was expected_cache meant?']
    for file in (ROOT / 'mmseg_configs').rglob('*.py'):
        if '_base_' not in file.parts:
            config = Config.fromfile(file)
            assert misspelt(config) == []
            check_loops(config)
    own.write_text(f"_base_ = '{CONFIG}'\ntrain_cfg = dict(max_iter=3)\n")
    with pytest.raises(ConfigError, match=r'train_cfg has max_iter, which IterBasedTrainLoop .* was max_iters'):
        check_loops(Config.fromfile(own))


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('train_cfg.max_iters=0', 'train_cfg.max_iters=0 is not a whole number of at least 1'),
        ('train_cfg.max_iters=ten', 'train_cfg.max_iters=ten is not a whole number of at least 1'),
        ('train_cfg.max_iters=2.5', 'train_cfg.max_iters=2.5 is not a whole number of at least 1'),
        ('train_cfg.val_interval=0', 'train_cfg.val_interval=0 is not a whole number of at least 1'),
        ('optim_wrapper.student.optimizer.type=Adamm', 'there is no optimizer Adamm; was Adam meant'),
        ('optim_wrapper.student.clip_grad=5', 'the config cannot be built: '),
        ('train_dataloader.batch_size=0', 'train_dataloader.batch_size=0 is not a whole number of at least 1'),
        ('val_dataloader.batch_size=two', 'val_dataloader.batch_size=two is not a whole number of at least 1'),
        ('train_dataloader.num_workers=-1', 'train_dataloader.num_workers=-1 is not a whole number of at least 0'),
        ('train_dataloader.num_workers=1.5', 'train_dataloader.num_workers=1.5 is not a whole number of at least 0'),
        ('train_dataloader.sampler.type=Samplerr', 'the config cannot be built: .*Samplerr'),
        ('val_evaluator.0.type=IoU', 'the config cannot be built: .*IoU'),
        ('val_evaluator.type=IoU', '.*val_evaluator is a list of .* such as val_evaluator.0.type'),
        ('val_evaluator.9.type=IoU', '.*val_evaluator is a list of .*, and 9 no place in it'),
    ],
)
def test_values_that_nothing_can_be_built_from_are_told_before_anything_is_computed(
    tiny_goodsam, tmp_path, option, message
):
    with pytest.raises(ConfigError, match=f'^{message}'):
        config = read_config(str(tiny_goodsam), dict([option.split('=')]))
        config.work_dir = str(tmp_path)
        build_runner(config).train()
    assert not (tmp_path / 'lessons').exists()


def test_a_length_may_be_written_as_1e3():
    assert run_length(read_config(CONFIG, {'train_cfg.max_iters': '1e3'})).iterations == 1000


def test_training_images_are_an_object_of_their_own_that_may_read_lessons():
    loader = {'dataset': {'type': 'a'}}
    config = Config({'train_dataloader': loader, 'val_dataloader': loader, 'test_dataloader': loader})
    built = ConfigDatasets(config, lambda settings: object())
    assert len(list(built)) == 2
    assert built.of(loader['dataset'], training=True) is not built.of(loader['dataset'])
    assert built.of(loader['dataset']) is built.of({'type': 'a'})


def test_chance_before_the_masks_of_a_frozen_assistant_is_refused(tiny_goodsam, tmp_path):
    options = {'model.update_ta': 'False', 'val_dataloader': 'None', 'val_cfg': 'None', 'val_evaluator': 'None'}
    config = read_config(str(tiny_goodsam), options)
    config.work_dir = str(tmp_path)
    steps = config.train_dataloader.dataset.pipeline
    order = ['LoadPanorama', 'PhotoMetricDistortion', 'LoadCachedMasks', 'PackPanorama']
    config.train_dataloader.dataset.pipeline = [next(s for s in steps if s['type'] == name) for name in order]
    config.train_dataloader.update(num_workers=0, persistent_workers=True)
    with pytest.raises(ConfigError, match=r'^PhotoMetricDistortion stands before LoadCachedMasks .*store_lessons'):
        build_runner(config).train()
    assert not list(tmp_path.rglob('*.lesson'))
