"""The segmentor: what one iteration trains and logs, and what it predicts."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import TINY_GRID
from mmengine.config import Config
from mmengine.hooks import RuntimeInfoHook
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import get_priority
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from reference.boundaries import hard as literal_boundary

from benchmarks.counts import counted
from stage1_sam_cache.errors import MaskCacheError
from stage1_sam_cache.geometry.windows import WindowGrid
from stage2_distill import components  # noqa: F401
from stage2_distill.checkpoints.fit import check_fit
from stage2_distill.data.cached_masks import CachedMasks
from stage2_distill.errors import ConfigError
from stage2_distill.fusion.mask_atoms import MaskAtoms
from stage2_distill.geometry.window_batch import stitch_windows
from stage2_distill.training.hooks import OneTransferHook, StopOnBadLossHook

TERMS_TA = ['loss_ce_t_ta', 'loss_cc', 'loss_bd_t_ta']
TERMS_STUDENT = ['loss_ce_ta_s', 'loss_ce_t_s', 'loss_bd_t_s']
SIZE = (32, 128)
GRID = WindowGrid(*SIZE, (32, 32), 16, wrap=True)


def network(**options):
    """A SegFormer of a few thousand weights."""
    return {
        'type': 'EncoderDecoder',
        'backbone': {
            'type': 'FusedMixVisionTransformer', 'embed_dims': 8, 'num_layers': [1, 1, 1, 1], 'num_heads': [1, 1, 1, 1],
            'sr_ratios': [8, 4, 2, 1], 'drop_path_rate': 0.0,
        },
        'decode_head': {
            'type': 'LevelwiseSegformerHead', 'in_channels': [8, 8, 8, 8], 'in_index': [0, 1, 2, 3], 'channels': 8,
            'dropout_ratio': 0.0, 'num_classes': 5, 'norm_cfg': {'type': 'BN'}, 'align_corners': False,
            'loss_decode': {'type': 'CrossEntropyLoss'},
        },
        **options,
    }  # fmt: skip


def build(seed=0, **options):
    init_default_scope('mmseg')
    torch.manual_seed(seed)
    config = {
        'type': 'GoodSAM', 'student': network(), 'teacher_assistant': network(),
        'grid': {'window': (32, 32), 'stride': 16, 'wrap': True},
        'ctcf_head': {'type': 'CTCFHead'}, 'mka_head': {'type': 'MKAHead'}, 'label_momentum': None,
        'data_preprocessor': {'type': 'SegDataPreProcessor', 'mean': [0.0] * 3, 'std': [64.0] * 3, 'size_divisor': 1},
    }  # fmt: skip
    model = MODELS.build({**config, **options})
    return model.train()


def optimizers(model, kind='OptimWrapper', **options):
    one = {'type': kind, 'optimizer': {'type': 'SGD', 'lr': 0.1}, **options}
    config = {'constructor': 'GoodSAMOptimizerConstructor', 'student': one, 'teacher_assistant': copy.deepcopy(one)}
    wrapper = build_optim_wrapper(model, config)
    wrapper.initialize_count_status(model, 0, 8)
    return wrapper


def masks(seed=0):
    rng = np.random.default_rng(seed)
    windows = [MaskAtoms.from_masks(np.stack([rng.random((32, 32)) < 0.5 for _ in range(3)])) for _ in GRID.windows]
    boundaries = [torch.from_numpy(rng.random((32, 16)) < 0.2) for _ in GRID.overlaps]
    return CachedMasks(GRID, tuple(windows), tuple(boundaries))


def batch(count=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for i in range(count):
        sample = SegDataSample(metainfo={'ori_shape': SIZE, 'img_shape': SIZE})
        sample.cached_masks = masks(seed + i)
        samples.append(sample)
    images = [torch.randint(0, 256, (3, *SIZE), generator=generator, dtype=torch.uint8) for _ in range(count)]
    return {'inputs': images, 'data_samples': samples}


def weights(network):
    return torch.cat([p.detach().flatten().clone() for p in network.parameters()])


@pytest.fixture(autouse=True)
def at_iteration():
    """Sets the training's iteration, as MMEngine's runner does."""
    hub = MessageHub.get_current_instance()

    def set_to(number):
        hub.update_info('iter', number)

    set_to(0)
    return set_to


def test_every_term_of_eq_8_and_9_is_logged_by_name_and_they_add_up():
    model = build()
    log = model.train_step(batch(2), optimizers(model))
    assert list(log) == ['reliable', 'entropy', *TERMS_TA, 'loss_ta', *TERMS_STUDENT, 'loss_student', 'loss']
    assert sum(log[name] for name in TERMS_TA) == pytest.approx(float(log['loss_ta']))
    assert sum(log[name] for name in TERMS_STUDENT) == pytest.approx(float(log['loss_student']))
    assert float(log['loss']) == pytest.approx(float(log['loss_ta'] + log['loss_student']))
    assert all(float(log[name]) > 0 for name in TERMS_TA + TERMS_STUDENT)
    assert 0 <= float(log['reliable']) <= 1


LEVEL_MEAN = {'type': 'CTCF', 'theta': 'level_mean'}


@pytest.mark.parametrize('fusion', [{'type': 'CTCF'}, LEVEL_MEAN, {'type': 'SSAFusion'}, {'type': 'SEPLFusion'}])
def test_a_training_step_never_waits_for_the_device(fusion):
    model = build(ctcf_head={'type': 'CTCFHead', 'fusion': fusion}, label_momentum=0.5)
    wrapper, data = optimizers(model), batch(2)
    assert counted(lambda: model.train_step(data, wrapper)).waits.total() == 0
    # It does notice them.
    waits = counted(lambda: float(torch.ones(3)[torch.tensor([True, False, True])].sum())).waits
    assert waits == {'index': 1, '_local_scalar_dense': 1}


def test_an_iteration_with_its_hooks_waits_once_whatever_is_logged():
    model = build(label_momentum=0.5)
    by_name = {'custom_keys': {'norm': {'decay_mult': 0.0}, 'head': {'lr_mult': 10.0}}}
    slow = {'type': 'SGD', 'lr': 1e-3, 'weight_decay': 0.01}
    wrapper = optimizers(model, optimizer=slow, clip_grad={'max_norm': 1.0}, paramwise_cfg=by_name)
    # Four settings of parameters, all of the network in them.
    groups = wrapper['student'].optimizer.param_groups
    assert sorted((group['lr'], group['weight_decay']) for group in groups) == [(1e-3, 0), (1e-3, 0.01), (1e-2, 0.01)]
    assert sum(len(group['params']) for group in groups) == len(list(model.student.parameters()))
    hub, data = MessageHub.get_instance('waits'), batch()
    runner = SimpleNamespace(iter=0, work_dir='work', optim_wrapper=wrapper, message_hub=hub)
    hooks = sorted((StopOnBadLossHook(), RuntimeInfoHook(), OneTransferHook()), key=lambda h: get_priority(h.priority))

    def iteration():
        outputs = model.train_step(data, wrapper)
        for hook in hooks:
            hook.after_train_iter(runner, 0, None, outputs)

    assert counted(iteration).waits == {'tolist': 1}
    assert {'train/loss_student', 'train/grad_norm_student', 'train/grad_norm_ta'} < set(hub.log_scalars)
    # On a device that computes nothing there is no value that could be read.
    model.to('meta')
    assert counted(lambda: model.train_step(data, wrapper), torch.device('meta')).kernels > 500


def test_both_networks_learn_and_neither_through_the_others_losses():
    joint, alone = build(), build(update_ta=False)
    before = weights(joint.student), weights(joint.teacher_assistant)
    joint.train_step(batch(), optimizers(joint))
    assert not torch.equal(weights(joint.student), before[0])
    assert not torch.equal(weights(joint.teacher_assistant), before[1])
    # A frozen assistant is in the mode of prediction; with its statistics made equal the student learns the same.
    for model in (joint, alone):
        assert [name for name, p in model.student.named_parameters() if p.grad is not None] == [] or model is joint
    log = alone.train_step(batch(), optimizers(alone))
    assert torch.equal(weights(alone.teacher_assistant), before[1])
    assert not torch.equal(weights(alone.student), before[0])
    assert not set(TERMS_TA) & set(log)
    assert not alone.teacher_assistant.training
    assert alone.student.training


def test_the_student_is_taught_by_the_assistant_as_it_was_before_its_step():
    """Eq. 4 to 9 use one forward pass of the assistant; how fast it learns must not change what it taught."""
    slow, fast = build(), build()
    fast_optimizers = optimizers(fast)
    fast_optimizers['teacher_assistant'].optimizer.param_groups[0]['lr'] = 10.0
    slow.train_step(batch(), optimizers(slow))
    fast.train_step(batch(), fast_optimizers)
    assert not torch.equal(weights(slow.teacher_assistant), weights(fast.teacher_assistant))
    assert torch.equal(weights(slow.student), weights(fast.student))


def test_ta_first_trains_one_after_the_other(at_iteration):
    model = build(schedule='ta_first', ta_iters=2)
    wrapper = optimizers(model)
    start = weights(model.student), weights(model.teacher_assistant)
    assert 'loss_student' not in model.train_step(batch(), wrapper)
    assert torch.equal(weights(model.student), start[0])
    taught = weights(model.teacher_assistant)
    assert not torch.equal(taught, start[1])
    at_iteration(2)
    statistics = {name: value.clone() for name, value in model.teacher_assistant.named_buffers()}
    log = model.train_step(batch(), wrapper)
    assert 'loss_ta' not in log
    assert torch.equal(weights(model.teacher_assistant), taught)
    assert all(torch.equal(value, statistics[name]) for name, value in model.teacher_assistant.named_buffers())
    assert not torch.equal(weights(model.student), start[0])


def test_labels_can_be_those_of_a_copy_that_follows_the_assistant():
    begun = {m: build(label_momentum=m) for m in (None, 1.0, 0.9, 0.0)}
    lessons = {m: [] for m in begun}
    for momentum, model in begun.items():
        model.init_weights()
        before = weights(model.teacher_assistant)
        if momentum is not None:
            assert torch.equal(weights(model.label_assistant), before)
        head, wrapper = model.ctcf_head.forward, optimizers(model)
        model.ctcf_head.forward = lambda x, m, head=head, to=lessons[momentum]: to.append(x.detach()) or head(x, m)
        for step in range(2):
            model.train_step(batch(seed=step), wrapper)
        after = weights(model.teacher_assistant)
        assert not torch.equal(after, before)
        if momentum == 1:
            assert torch.equal(weights(model.label_assistant), before)
        if momentum == 0:
            assert torch.equal(weights(model.label_assistant), after)
        if momentum == 0.9:
            model = copy.deepcopy(model)
            model.train_step(batch(seed=2), optimizers(model))
            moved, now = weights(begun[0.9].label_assistant), weights(model.teacher_assistant)
            torch.testing.assert_close(weights(model.label_assistant), 0.9 * moved + 0.1 * now, rtol=1e-4, atol=1e-6)
    assert not torch.equal(lessons[None][1], lessons[1.0][1])


def test_a_checkpoint_without_the_copy_that_labels_begins_it_as_its_assistant(tmp_path):
    plain, labelled = build(seed=1), build(seed=2, label_momentum=1.0)
    labelled.load_state_dict(plain.state_dict())
    assert torch.equal(weights(labelled.label_assistant), weights(plain.teacher_assistant))
    labelled.train_step(batch(), optimizers(labelled))
    torch.save({'state_dict': plain.state_dict(), 'meta': {}}, tmp_path / 'plain.pth')
    check_fit(labelled, str(tmp_path / 'plain.pth'))  # as test.py does
    again = build(seed=3, label_momentum=1.0)
    again.load_state_dict(labelled.state_dict())
    assert torch.equal(weights(again.label_assistant), weights(plain.teacher_assistant))
    assert not torch.equal(weights(again.teacher_assistant), weights(plain.teacher_assistant))
    with pytest.raises(ValueError, match=r'label_momentum 1\.5 is not from 0 to 1'):
        build(label_momentum=1.5)


def test_the_copy_that_labels_begins_as_the_assistant_when_that_is_wrapped():
    model = build(label_momentum=1.0)
    model.teacher_assistant = torch.nn.DataParallel(model.teacher_assistant)  # distributed training has its like
    model.init_weights()
    assert torch.equal(weights(model.label_assistant), weights(model.teacher_assistant))


def statistics(network):
    return torch.cat([value.flatten().float() for name, value in network.named_buffers()])


@pytest.mark.parametrize('kept', [(), ('teacher_assistant',), ('student', 'teacher_assistant')])
def test_norm_eval_keeps_the_statistics_of_the_networks_it_names(kept):
    model = build(norm_eval=kept).train()
    before = {name: statistics(getattr(model, name)) for name in ('student', 'teacher_assistant')}
    start = weights(model.teacher_assistant)
    model.train_step(batch(), optimizers(model))
    for name in before:
        assert torch.equal(statistics(getattr(model, name)), before[name]) == (name in kept)
    assert not torch.equal(weights(model.teacher_assistant), start)  # it learns all the same


def test_a_term_without_weight_is_neither_computed_nor_logged():
    head = {'type': 'MKAHead', 'consistency': 0.0, 'boundary_ta': 0.0, 'ensemble_student': 0.0, 'boundary_student': 0.0}
    model = build(mka_head=head)
    log = model.train_step(batch(), optimizers(model))
    assert [name for name in log if name.startswith('loss_')] == [
        'loss_ce_t_ta',
        'loss_ta',
        'loss_ce_ta_s',
        'loss_student',
    ]


def test_weights_scale_their_terms():
    plain, double = build(), build(mka_head={'type': 'MKAHead', 'whole_image': 2.0})
    logs = [model.train_step(batch(), optimizers(model)) for model in (plain, double)]
    assert float(logs[1]['loss_ce_ta_s']) == pytest.approx(2 * float(logs[0]['loss_ce_ta_s']))
    assert float(logs[1]['loss_ce_t_s']) == pytest.approx(float(logs[0]['loss_ce_t_s']))


def test_accumulated_gradients_are_those_of_one_larger_batch():
    """Without batch statistics, two batches of one panorama are one batch of two."""
    one, two = build(), build()
    both = batch(2)
    for model in (one, two):
        model.eval()
    one.train_step(copy.deepcopy(both), optimizers(one))
    wrapper = optimizers(two, accumulative_counts=2)
    start = weights(two.student)
    for i in range(2):
        two.train_step({name: [copy.deepcopy(values[i])] for name, values in both.items()}, wrapper)
        assert torch.equal(weights(two.student), start) == (i == 0)
    # The boundary loss is a mean over overlaps, the others over pixels: all of equal number in both panoramas.
    torch.testing.assert_close(weights(one.student), weights(two.student), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(weights(one.teacher_assistant), weights(two.teacher_assistant), atol=1e-5, rtol=1e-4)


def test_mixed_precision_keeps_the_losses_in_float32():
    exact, mixed = build(), build()
    logs = [
        exact.train_step(batch(), optimizers(exact)),
        mixed.train_step(batch(), optimizers(mixed, 'BFloat16OptimWrapper')),
    ]
    for name in TERMS_TA + TERMS_STUDENT:
        assert logs[1][name].dtype == torch.float32
        assert float(logs[1][name]) != float(logs[0][name])
        if 'ce' in name:  # boundary maps of an untrained network change with the last bit of its logits
            assert float(logs[1][name]) == pytest.approx(float(logs[0][name]), rel=0.05)


@pytest.mark.parametrize('mode', ['ste', 'soft', 'bce', 'weighted_ce', 'hard'])
def test_every_boundary_mode_takes_a_step(mode):
    model = build(mka_head={'type': 'MKAHead', 'boundary_mode': mode})
    log = model.train_step(batch(), optimizers(model))
    assert torch.isfinite(log['loss_bd_t_ta'])
    assert float(log['loss_bd_t_s']) > 0


@pytest.mark.parametrize(
    'fusion', [{'type': 'SSAFusion'}, {'type': 'SEPLFusion'}, {'type': 'CTCF', 'output': 'soft'}, LEVEL_MEAN]
)
def test_every_fusion_takes_a_step(fusion):
    model = build(ctcf_head={'type': 'CTCFHead', 'fusion': fusion})
    log = model.train_step(batch(2), optimizers(model))
    assert float(log['loss_ce_t_s']) > 0


def test_the_lesson_is_the_pure_functions_of_every_window_and_overlap():
    from stage2_distill.boundaries.refinement import refine
    from stage2_distill.fusion.ctcf import fuse
    from stage2_distill.fusion.pixelwise import margins

    model = build().eval()
    data = model.data_preprocessor(batch(2), False)
    logits = model.assistant_windows(data['inputs']).detach()
    panoramas = [sample.cached_masks for sample in data['data_samples']]
    lesson = model.ctcf_head(logits, panoramas)
    for b, panorama in enumerate(panoramas):
        for i, window in enumerate(panorama.windows):
            alone = fuse(window, logits[b, i : i + 1])
            assert torch.equal(lesson.ensemble.labels[b, i], alone.labels[0])
            assert torch.equal(lesson.ensemble.weight[b, i], alone.weight[0])
        for place, overlap in enumerate(GRID.overlaps):
            p = logits[b].softmax(1)
            p_i, p_j = p[overlap.first, :, :, 16:], p[overlap.second, :, :, :16]
            maps = [torch.tensor(literal_boundary(q.argmax(0).tolist())) for q in (p_i, p_j)]
            expected = refine(*maps, panorama.boundaries[place], margins(p_i), margins(p_j))
            assert torch.equal(lesson.refined[0][b, lesson.groups[0].members.index(place)], expected)
    owners = torch.cat([logits[:, i] for i in (0, 2, 4, 6)], -1)
    assert torch.equal(lesson.whole, owners)
    assert torch.equal(lesson.whole_labels, owners.argmax(1))


def test_training_loss_pictures_and_prediction_make_the_same_lesson():
    """With an averaged copy, its labels are what all four use, and not those of the assistant that is trained."""
    model = build(label_momentum=1.0, test_cfg={'predictors': ('student', 'ensemble')})
    model.init_weights()
    with torch.no_grad():
        for parameter in model.teacher_assistant.parameters():
            parameter.add_(torch.randn_like(parameter))
    model.eval()
    data = model.data_preprocessor(batch(2), False)
    inputs, samples = data['inputs'], data['data_samples']
    of_copy, of_assistant = (
        model.ctcf_head(model.assistant_windows(inputs, network), [sample.cached_masks for sample in samples])
        for network in (model.label_assistant, model.teacher_assistant)
    )
    assert not torch.equal(of_copy.ensemble.labels, of_assistant.ensemble.labels)
    lessons = []
    model.ctcf_head.register_forward_hook(lambda head, args, lesson: lessons.append(lesson))
    model.loss(inputs, samples)
    lessons.append(model.explain(inputs, samples)[0])
    predicted = torch.stack([sample.ensemble.data[0] for sample in model.predict(inputs, samples)])
    model.train_step(batch(2), optimizers(model))
    assert len(lessons) == 5
    for lesson in lessons:
        assert torch.equal(lesson.ensemble.labels, of_copy.ensemble.labels)
        assert torch.equal(lesson.whole_labels, of_copy.whole_labels)
    assert torch.equal(predicted, stitch_windows(of_copy.ensemble.labels, GRID))


def test_predictions_by_name():
    model = build(test_cfg={'predictors': ('student', 'ta_whole', 'ta_tile', 'ta_slide', 'ensemble')}).eval()
    data = model.data_preprocessor(batch(), False)
    (sample,) = model.predict(**data)
    for name in ('pred_sem_seg', 'ta_whole', 'ta_tile', 'ta_slide', 'ensemble'):
        assert sample.get(name).data.shape == (1, *SIZE)
        assert sample.get(name).data.max() < 5
    logits = model.assistant_windows(data['inputs'])
    tiles = torch.cat([logits[0, i] for i in (0, 2, 4, 6)], -1).argmax(0)
    assert torch.equal(sample.ta_tile.data[0], tiles)
    whole = model.teacher_assistant(data['inputs'], mode='tensor')
    whole = torch.nn.functional.interpolate(whole, SIZE, mode='bilinear')[0].argmax(0)
    assert torch.equal(sample.ta_whole.data[0], whole)


def test_wrapping_lets_the_student_see_across_the_seam():
    model = build(wrap_columns=32).eval()
    inputs = batch()['inputs'][0][None].float()
    turned = inputs.roll(64, -1)
    plain = [model.student_panorama(x) for x in (inputs, turned)]
    wrapped = [model.student_panorama(x, 32) for x in (inputs, turned)]
    assert wrapped[0].shape == plain[0].shape
    # Near the borders of the first, which lie inside the second, the wrapped one agrees better with itself when turned.
    border = torch.cat([torch.arange(4), torch.arange(124, 128)])
    gaps = [(a.roll(64, -1) - b)[..., (border + 64) % 128].abs().mean() for a, b in (plain, wrapped)]
    assert gaps[1] < gaps[0]


def test_the_assistant_sees_enlarged_windows_and_answers_at_window_size():
    plain, enlarged = build().eval(), build(ta_input_scale=2.0).eval()
    inputs = batch()['inputs'][0][None].float() / 64
    seen = []
    enlarged.teacher_assistant.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))
    logits = enlarged.assistant_windows(inputs)
    assert seen == [torch.Size([8, 3, 64, 64])]
    assert logits.shape == plain.assistant_windows(inputs).shape == (1, 8, 5, 32, 32)


def test_what_contradicts_itself_is_refused():
    for options, message in (
        ({'schedule': 'both'}, "schedule='both'"),
        ({'norm_eval': ('ta',)}, 'norm_eval ta: teacher_assistant and student can be named'),
        ({'test_cfg': {'predictors': ('me',)}}, 'predictors me are none of'),
        (
            {'mka_head': {'type': 'MKAHead', 'ensemble_ta': 0, 'consistency': 0, 'boundary_ta': 0}},
            'set update_ta=False',
        ),
        ({'mka_head': {'type': 'MKAHead', 'whole_image': 0, 'ensemble_student': 0, 'boundary_student': 0}}, 'no loss'),
        ({'mka_head': {'type': 'MKAHead', 'boundary_mode': 'odd'}}, 'is none of ste'),
        ({'mka_head': {'type': 'MKAHead', 'class_weight': [1.0, 2.0]}}, 'class_weight has 2 values for 5 classes'),
        (
            {'teacher_assistant': network(decode_head={**network()['decode_head'], 'num_classes': 4})},
            'different numbers',
        ),
    ):
        with pytest.raises(ValueError, match=message):
            build(**options)
    model = build()
    data = batch()
    del data['data_samples'][0].cached_masks
    with pytest.raises(MaskCacheError, match='needs cached masks'):
        model.train_step(data, optimizers(model))
    other = build(grid={'window': (32, 64), 'stride': 32})
    with pytest.raises(MaskCacheError, match='the cache has windows'):
        other.train_step(batch(), optimizers(other))
    with pytest.raises(ConfigError, match='takes teacher_assistant and student'):
        build_optim_wrapper(model, {'constructor': 'GoodSAMOptimizerConstructor', 'generator': {}})


def test_the_grid_of_the_fixture_is_the_papers_in_small():
    assert WindowGrid(100, 512, **TINY_GRID).starts == [0, 64, 128, 192, 256, 320, 384, 448]
    config = Config.fromfile('mmseg_configs/goodsam_b0_toypass.py').model
    assert WindowGrid(200, 1024, **config.grid).starts == [128 * i for i in range(8)]


@pytest.mark.parametrize(
    ('head', 'settings', 'error'),
    [
        ('ctcf_head', {'type': 'CTCFHead', 'refinement': {'iterate': 'odd'}}, ValueError),
        ('ctcf_head', {'type': 'CTCFHead', 'refinement': {'alfa': 0.3}}, TypeError),
        ('ctcf_head', {'type': 'CTCFHead', 'fusion': {'type': 'CTCF', 'entropy': 'odd'}}, ValueError),
        ('ctcf_head', {'type': 'CTCFHead', 'fusion': {'type': 'SSAFusion', 'entropy': 'odd'}}, TypeError),
        ('mka_head', {'type': 'MKAHead', 'reduction': 'odd'}, ValueError),
        ('mka_head', {'type': 'MKAHead', 'space': 'odd'}, ValueError),
        ('mka_head', {'type': 'MKAHead', 'radius': 0}, ValueError),
    ],
)
def test_unknown_settings_of_heads_are_refused_when_the_model_is_built(head, settings, error):
    with pytest.raises(error, match=r'odd|alfa|entropy|radius'):
        build(**{head: settings})
