"""Weights as others save them: found among what else a file holds, and refused with a remedy where they don't fit."""

import argparse
import collections
import datetime
import pathlib
import zipfile

import numpy as np
import pytest
import torch
from conftest import ROOT, build_tiny_sam
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import load_checkpoint
from mmseg.registry import MODELS
from safetensors.torch import save_file

from stage1_sam_cache.errors import WeightsError
from stage1_sam_cache.sam import weights as sam_module
from stage1_sam_cache.sam.weights import find_weights, load_sam
from stage1_sam_cache.system.weight_files import missing_from
from stage2_distill import components  # noqa: F401
from stage2_distill.checkpoints import fit
from stage2_distill.checkpoints.fit import check_fit, check_initial_weights
from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint, use_safe_loaders
from stage2_distill.deployment.student import Student
from stage2_distill.errors import CheckpointError

SOURCE = ROOT / 'mmseg_configs/source'
B0 = SOURCE / 'segformer_b0_toypass.py'


@pytest.fixture(autouse=True)
def _switch_back(monkeypatch):
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')


def build(path=B0, **changes):
    init_default_scope('mmseg')
    config = Config.fromfile(path)
    config.merge_from_dict(changes)
    return MODELS.build(config.model)


@pytest.fixture(scope='module')
def network():
    return build()


def below(prefix, weights):
    return {prefix + name: value for name, value in weights.items()}


def containers(weights):
    """Files with a network's weights, by what others would call them."""
    other = {name: value + 1 for name, value in weights.items() if value.is_floating_point()}
    values = {
        'args': argparse.Namespace(lr=1e-4, out=pathlib.PurePosixPath('out'), opt=argparse.Namespace(name='adam')),
        'best': np.float64(0.5), 'loss': torch.tensor(0.1), 'when': datetime.datetime(2026, 1, 1),
        'torch': torch.__version__, 'epoch': 3, 'seen': collections.Counter(a=1),
    }  # fmt: skip
    return {
        'plain': weights,
        'model': {'model': weights, **values},
        'state_dict of distributed training': {'state_dict': below('module.', weights), **values},
        'model_state_dict': {'model_state_dict': weights, 'optimizer_state_dict': {'state': {0: {'step': 1}}}},
        'compiled and distributed': {'model': below('module._orig_mod.', weights)},
        'Lightning': {'state_dict': below('model.', weights), 'pytorch-lightning_version': '2'},
        'an average beside it': {'model': weights, 'model_ema': other, 'teacher': other},
        'an average alone': {'ema': weights, 'epoch': 3},
        'nested': {'checkpoint': {'model': weights}},
    }


@pytest.mark.parametrize('form', containers({'a': torch.ones(1)}))
def test_a_networks_weights_load_from_every_form(form, network, tmp_path):
    path = tmp_path / 'x.pth'
    expected = network.state_dict()
    torch.save(containers(expected)[form], path)
    use_safe_loaders()
    check_fit(network, str(path))
    loaded = build()
    load_checkpoint(loaded, str(path), 'cpu')  # as MMEngine loads --load-from and initial weights
    student = Student.load(str(B0), str(path)).network  # as predict.py and export_student.py
    for one in (loaded, student):
        assert all(torch.equal(value, expected[name]) for name, value in one.state_dict().items())


def test_weights_that_may_be_meant_or_not_are_refused(network, tmp_path):
    path = tmp_path / 'x.pth'
    weights = network.state_dict()
    torch.save({'student': weights, 'teacher': weights}, path)
    with pytest.raises(CheckpointError, match='several sets of weights: student, teacher; save the one'):
        check_checkpoint(str(path))
    torch.save({'model': weights, 'args': pathlib.Path.cwd}, path)
    with pytest.raises(CheckpointError, match=r'holds more than weights .*--trust-checkpoint'):
        check_checkpoint(str(path))


def test_values_of_other_versions_load(tmp_path):
    """As NumPy 1, Python 3.13 and Windows name them."""
    path = tmp_path / 'x.pth'
    content = {'model': {'a': torch.ones(1)}, 'best': np.float64(0.5), 'path': pathlib.PurePosixPath('a/b')}
    torch.save(content, path)
    with zipfile.ZipFile(path) as archive:
        records = {record.filename: archive.read(record) for record in archive.infolist()}
    for old, new in ((b'numpy._core.multiarray', b'numpy.core.multiarray'), (b'pathlib\n', b'pathlib._local\n'),
                     (b'PurePosixPath', b'WindowsPath')):  # fmt: skip
        changed = {name: data.replace(old, new) for name, data in records.items()}
        assert changed != records
        with zipfile.ZipFile(path, 'w') as archive:
            for name, data in changed.items():
                archive.writestr(name, data)
        loaded = check_checkpoint(str(path))
        assert (loaded['best'], loaded['path'].as_posix()) == (0.5, 'a/b')


# --- SAM ---


@pytest.fixture(scope='module')
def sam_weights():
    return {name: value.float() for name, value in load_sam('toy', find_weights('toy'))[0].state_dict().items()}


def test_sams_weights_load_from_every_form(sam_weights, tmp_path):
    path = tmp_path / 'x.pth'
    forms = containers(sam_weights)
    forms['in a larger model'] = {'state_dict': {**below('net.sam.', sam_weights), 'net.loss.weight': torch.ones(1)}}
    forms['of 16 bits'] = {name: value.half() for name, value in sam_weights.items()}
    for form, content in forms.items():
        torch.save(content, path)
        loaded = load_sam('toy', path, official=False)[0].state_dict()
        assert all(torch.equal(value, sam_weights[name]) for name, value in loaded.items()), form
    save_file(sam_weights, tmp_path / 'x.safetensors')
    loaded = load_sam('toy', tmp_path / 'x.safetensors', official=False)[0].state_dict()
    assert all(torch.equal(value, sam_weights[name]) for name, value in loaded.items())
    (tmp_path / 'x.safetensors').write_bytes(b'half')
    with pytest.raises(WeightsError, match='damaged or no safetensors file'):
        load_sam('toy', tmp_path / 'x.safetensors', official=False)


def test_what_is_not_sams_weights_says_what_is_missing(sam_weights, tmp_path, monkeypatch):
    path = tmp_path / 'x.pth'
    for name in ('vit_h', 'vit_l', 'vit_b'):  # which take seconds to build
        monkeypatch.delitem(sam_module.ARCHITECTURES, name)
    first = next(iter(sam_weights))
    short = {name: value for name, value in sam_weights.items() if name != first}
    n = len(sam_weights)
    for content, expected in (
        ({'model': short}, f'it has {n - 1} of the {n} tensors of SAM toy, and not {first}'),
        ({'model': {**sam_weights, 'mask_decoder.hf_token.weight': torch.ones(1)}}, '1 tensors more, such as mask_dec'),
        ({'a': sam_weights, 'b': sam_weights}, 'holds several sets of weights of SAM toy, below a and b; save the one'),
        ({'model': sam_weights, 'x': pathlib.Path.cwd}, 'add --trust-checkpoint, which lets it run code'),
        ({'model': {name: torch.ones(3) for name in sam_weights}}, 'their shapes differ'),
    ):
        torch.save(content, path)
        with pytest.raises(WeightsError) as told:
            load_sam('toy', path, official=False)
        assert expected in str(told.value)
        assert '\n' not in str(told.value)
    torch.save({'model': sam_weights, 'x': pathlib.Path.cwd}, path)
    assert load_sam('toy', path, official=False, trusted=True)
    torch.save(sam_weights, path)
    monkeypatch.setitem(sam_module.ARCHITECTURES, 'tiny', build_tiny_sam)
    with pytest.raises(WeightsError, match=r'of the \d+ tensors of SAM tiny, .*these are the weights of --sam toy'):
        load_sam('tiny', path, official=False)


# --- what a run starts from ---


def save(tmp_path, name, content):
    torch.save(content, tmp_path / name)
    return str(tmp_path / name)


def starts(path, prefix=None, **more):
    return {'type': 'Pretrained', 'checkpoint': path, **({} if prefix is None else {'prefix': prefix}), **more}


def test_a_backbone_starts_from_a_classifier_or_a_whole_network(network, tmp_path):
    whole = save(tmp_path, 'whole.pth', {'state_dict': network.state_dict()})
    # As mmseg's converter names ImageNet's MiT-B0, and with the classifier that it has.
    backbone = {**network.backbone.state_dict(), 'head.weight': torch.ones(1000, 256), 'head.bias': torch.ones(1000)}
    for init in (
        starts(save(tmp_path, 'mit_b0.pth', backbone)),
        [starts(whole, 'backbone.')],
        starts(whole, 'backbone'),
    ):
        model = build()
        model.backbone.init_cfg = init
        check_initial_weights(model)
        model.init_weights()
        assert torch.equal(
            model.backbone.layers[0][0].projection.weight, network.backbone.layers[0][0].projection.weight
        )
    head = build()
    head.decode_head.init_cfg = starts(whole, 'decode_head.')
    check_initial_weights(head)


def test_a_part_that_starts_from_something_else_is_refused_with_what_would_fit(network, tmp_path, monkeypatch):
    whole = save(tmp_path, 'whole.pth', {'state_dict': network.state_dict()})
    model = build()
    for init, expected in (
        (starts(whole), 'model.backbone.init_cfg.prefix=backbone.'),
        (starts(whole, 'encoder.'), 'model.backbone.init_cfg.prefix=backbone.'),
        (starts(save(tmp_path, 'x.pth', {'a': torch.ones(1)})), 'does not fit model.backbone: 160 of 160 weights'),
    ):
        model.backbone.init_cfg = init
        with pytest.raises(CheckpointError, match=r'does not fit model\.backbone') as told:
            check_initial_weights(model)
        assert expected in str(told.value)
    # A few that begin at random are said and no more.
    short = {name: value for name, value in network.backbone.state_dict().items() if '.norm1.' not in name}
    model.backbone.init_cfg = starts(save(tmp_path, 'short.pth', short))
    logged = []
    monkeypatch.setattr(fit, 'print_log', lambda text, *_: logged.append(text))
    check_initial_weights(model)
    assert 'fits model.backbone in part: 16 of 160 weights are missing' in ''.join(logged)


def test_other_classes_and_parts_are_refused_where_all_is_needed_and_the_remedy_helps(network, tmp_path):
    whole = save(tmp_path, 'whole.pth', {'state_dict': network.state_dict()})
    thirteen = build(**{'model.decode_head.num_classes': 13, 'model.decode_head.loss_decode.class_weight': None})
    with pytest.raises(CheckpointError, match=r'it has 19 classes, not 13: 2 of \d+ weights') as told:
        check_fit(thirteen, whole, starts=True)
    assert f'model.backbone.init_cfg.checkpoint={whole} model.backbone.init_cfg.prefix=backbone.' in str(told.value)
    thirteen.backbone.init_cfg = starts(whole, 'backbone.')
    check_initial_weights(thirteen)
    only = save(tmp_path, 'backbone.pth', network.backbone.state_dict())
    with pytest.raises(CheckpointError, match=r'it fits model.backbone: .*instead of --load-from'):
        check_fit(network, only, starts=True)
    trained = save(tmp_path, 'goodsam.pth', {'state_dict': below('student.', network.state_dict())})
    with pytest.raises(CheckpointError, match=r'it fits model: .*model.init_cfg.prefix=student\.'):
        check_fit(network, trained, starts=True)
    network.init_cfg = starts(trained, 'student.')
    check_initial_weights(network)
    network.init_cfg = None


def test_goodsam_refuses_a_network_and_says_how_to_start_from_it(tmp_path, network):
    config = Config.fromfile(ROOT / 'mmseg_configs/goodsam_b0_toypass.py')
    model = MODELS.build(config.model)
    whole = save(tmp_path, 'whole.pth', {'state_dict': network.state_dict()})
    with pytest.raises(CheckpointError, match=f'model.student.init_cfg.checkpoint={whole} instead of --load-from'):
        check_fit(model, whole, starts=True)
    model.student.init_cfg = starts(whole)
    model.teacher_assistant.init_cfg = None
    check_initial_weights(model)
    model.teacher_assistant.backbone.init_cfg = starts(whole, 'backbone.')
    with pytest.raises(CheckpointError, match=r'does not fit model\.teacher_assistant\.backbone'):
        check_initial_weights(model)


def test_backbones_that_load_by_themselves_may_resize_but_need_something_to_load(tmp_path):
    swin = {'type': 'SwinTransformer', 'embed_dims': 24, 'depths': (1, 1), 'num_heads': (1, 2), 'strides': (4, 2),
            'out_indices': (0, 1)}  # fmt: skip
    init_default_scope('mmseg')
    weights = {**MODELS.build(swin).state_dict()}
    table = next(name for name in weights if 'bias_table' in name)
    weights[table] = torch.ones(81, 1)  # a window of 5, not 7, which the network resizes
    model = torch.nn.Module()
    model.backbone = MODELS.build({**swin, 'init_cfg': starts(save(tmp_path, 'x.pth', below('backbone.', weights)))})
    check_initial_weights(model)
    model.backbone.init_cfg = starts(save(tmp_path, 'y.pth', {'a': torch.ones(1)}))
    with pytest.raises(CheckpointError, match=r'does not fit model\.backbone'):
        check_initial_weights(model)


def test_a_count_of_batches_is_not_needed(network):
    weights = {name: value for name, value in network.state_dict().items() if 'num_batches' not in name}
    assert len(weights) < len(network.state_dict())
    assert missing_from(weights, network.state_dict()) == []
    build().load_state_dict(weights)  # strictly
