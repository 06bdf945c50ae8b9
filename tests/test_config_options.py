"""Values of --cfg-options: numbers and lists as MMEngine reads them, names of files and folders as they were typed."""

import re

import pytest
from conftest import ROOT
from mmengine.config import Config

from stage2_distill.errors import ConfigError
from stage2_distill.training.config_options import apply_options
from stage2_distill.training.documented_types import takes_text
from stage2_distill.training.experiment import read_config

CONFIG = ROOT / 'mmseg_configs/goodsam_b0_toypass.py'
NAMES = ('20240501', '007', '1e5', 'nan', 'true', 'False', 'Berlin,Mitte', 'a b', '[old]', '(1)', 'x[1', 'a=b', '"q"')
NAMES += ("it's", ' x ', '-1', '1_000', 'a,', ',')
TEXT = (
    *(f'train_dataloader.dataset.{name}' for name in ('images', 'cache', 'root', 'labels', 'list_file', 'data_root')),
    'model.student.init_cfg.checkpoint',
    'model.teacher_assistant.init_cfg.checkpoint',
    'model.student.init_cfg.prefix',
    'load_from',
    'work_dir',
    'lessons_dir',
    'default_hooks.checkpoint.out_dir',
    'vis_backends.0.save_dir',
)
NOT_TEXT = (
    *(f'train_dataloader.{name}' for name in ('dataset.limit', 'dataset.labelled', 'batch_size')),
    *('train_cfg.max_iters', 'param_scheduler.1.end', 'param_scheduler.9.end', 'no.such.key', 'val_dataloader'),
    *('model.grid.window', 'model.label_momentum', 'optim_wrapper.teacher_assistant.loss_scale'),
    *('default_hooks.checkpoint.save_best', 'store_lessons', 'resume'),
)


@pytest.fixture(scope='module')
def config():
    return read_config(str(CONFIG))


def value_of(config, key):
    for name in key.split('.'):
        config = config[int(name)] if isinstance(config, list) else config[name]
    return config


@pytest.mark.parametrize('key', TEXT)
def test_keys_of_files_and_folders_keep_what_was_typed(key):
    config = read_config(str(CONFIG))
    assert takes_text(config, key)
    for name in NAMES:
        apply_options(config, {key: name})
        assert value_of(config, key) == name
    apply_options(config, {key: 'None'})
    assert value_of(config, key) is None


@pytest.mark.parametrize('key', NOT_TEXT)
def test_other_keys_do_not(config, key):
    assert not takes_text(config, key)


def test_other_values_are_read_as_mmengine_reads_them(config):
    typed = {'train_cfg.max_iters': '7', 'model.grid.window': '[100, 128]', 'model.grid.stride': '(1,2)'}
    typed |= {'model.label_momentum': '0.5', 'store_lessons': 'false', 'val_dataloader': 'None'}
    typed |= {
        'default_hooks.checkpoint.save_best': 'mIoU',
        'param_scheduler.1.end': '9',
        'train_dataloader.seed': '1,2',
    }
    config = read_config(str(CONFIG), typed)
    assert [value_of(config, key) for key in typed] == [7, [100, 128], (1, 2), 0.5, False, None, 'mIoU', 9, [1, 2]]


def test_values_that_are_no_text_stay_as_they_are():
    config = Config({'a': 1})
    apply_options(config, {'a': 2, 'b': ['x']})
    assert config.to_dict() == {'a': 2, 'b': ['x']}


def test_a_path_in_the_config_is_text_where_nothing_is_documented():
    config = Config({'place': 'data/here', 'mode': 'linear'})
    apply_options(config, {'place': '20240501', 'mode': '3'})
    assert config.to_dict() == {'place': '20240501', 'mode': 3}


@pytest.mark.parametrize(
    'typed', ['store_lessons=no', 'model.update_ta=Flase', 'train_dataloader.dataset.follow_links=on', 'resume=Yes']
)
def test_a_switch_that_is_neither_on_nor_off_is_refused(typed):
    key, value = typed.split('=')
    with pytest.raises(ConfigError, match=f'^{typed} is neither True nor False$'):
        read_config(str(CONFIG), {key: value})


@pytest.mark.parametrize('key', ['work_dir', 'load_from', 'train_dataloader.dataset.images', 'train_cfg.max_iters'])
def test_no_value_is_not_the_current_folder_nor_a_default(key):
    with pytest.raises(ConfigError, match=rf'^--cfg-options {key}= has no value; none is {key}=None$'):
        read_config(str(CONFIG), {key: ''})


def test_a_list_without_its_end_is_one_line():
    with pytest.raises(ConfigError, match=r'model\.grid\.window=\[100,128 cannot be read'):
        read_config(str(CONFIG), {'model.grid.window': '[100,128'})


@pytest.mark.parametrize(
    ('typed', 'meant'),
    [
        ('segformer_b0_toypass.py', 'source/segformer_b0_toypass.py'),  # in a folder
        ('mmseg_configs/goodsam_b0_onx.py', 'goodsam_b0_onnx.py'),  # misspelt
        ('ablations/goodsam_b2.py', 'goodsam_b2.py'),  # in another folder
    ],
)
def test_a_config_that_does_not_exist_names_the_one_that_is_meant_where_it_lies(typed, meant):
    with pytest.raises(ConfigError, match='does not exist') as refused:
        read_config(typed)
    folder, near = re.fullmatch(
        'those of the project are in (.+); did you mean ([^ ]+).*', refused.value.remedy
    ).groups()
    assert folder == str(ROOT / 'mmseg_configs')
    assert near.rstrip('?') == meant
    assert (ROOT / 'mmseg_configs' / meant).is_file()
