"""The label guard: what it logs, when it warns, and that a run with it is the run without it."""

import copy
import json
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from PIL import Image
from safetensors.torch import load_file
from test_goodsam import SIZE, batch, build, optimizers

from benchmarks.counts import counted
from stage2_distill.fusion.label_drift import agreement, class_counts, shares, vanishing
from stage2_distill.training.label_guard import START_LABELS, LabelGuardHook

CLASSES = ('road', 'wall', 'pole', 'car', 'sky')


# --- the pure functions ---


@pytest.mark.parametrize('dtype', [torch.int64, torch.uint8])
def test_counts_and_shares_are_those_of_a_plain_count(dtype):
    labels = torch.randint(0, 6, (2, 3, 8, 9), generator=torch.Generator().manual_seed(0))
    labels[labels == 5] = 255
    plain = [sum(int(value) == c for value in labels.flatten()) for c in range(5)]
    counts = class_counts(labels.to(dtype), 5)
    assert counts.dtype == torch.int64
    assert counts.tolist() == plain
    assert shares(counts).tolist() == pytest.approx([count / sum(plain) for count in plain])
    assert shares(class_counts(torch.full((4, 4), 255), 5)).tolist() == [0.0] * 5


def test_agreement_is_the_share_of_equal_labels():
    labels, start = torch.tensor([[1, 2], [3, 4]]), torch.tensor([[1, 2], [3, 0]])
    assert agreement(labels, start) == 0.75
    assert agreement(start, start) == 1
    with pytest.raises(ValueError, match='are not of the same pixels'):
        agreement(labels, start[:1])


def test_a_class_vanishes_when_it_held_enough_and_keeps_too_little():
    # 1000 pixels: of class 1 49 of 100 are left, of class 2 50, of class 3, which was too small to watch, none.
    start = torch.tensor([795, 100, 100, 5])
    now = torch.tensor([901, 49, 50, 0])
    assert vanishing(now, start, min_share=0.01, kept=0.5).tolist() == [False, True, False, False]
    assert vanishing(now, start, min_share=0.005, kept=0.5).tolist() == [False, True, False, True]
    assert vanishing(now * 7, start, min_share=0.01, kept=0.5).tolist() == [False, True, False, False]  # shares count


# --- the hook, around a model of a few thousand weights ---


class Panoramas:
    """A training list of pictures."""

    def __init__(self, folder):
        self.files = sorted(folder.iterdir())
        self.metainfo = {'classes': CLASSES}

    def __len__(self):
        return len(self.files)

    def get_data_info(self, index):
        return {'img_path': str(self.files[index]), 'image_id': self.files[index].stem}


class Run:
    """What the hook needs of a runner, and what it told."""

    def __init__(self, folder, images, model, iterations=8):
        self.work_dir, self.model, self.iter, self.max_iters = str(folder), model, 0, iterations
        self.train_dataloader = SimpleNamespace(dataset=Panoramas(images))
        self.optim_wrapper = optimizers(model)
        self.scalars, self.lines, self.warnings = {}, [], []
        self.visualizer = SimpleNamespace(add_scalars=lambda values, step: self.scalars.update({step: values}))
        self.logger = SimpleNamespace(info=self.lines.append, warning=self.warnings.append)

    def train(self, hook, until, change=None):
        """Run iterations with the hook; ``change`` is called after each step, before the hook."""
        hook.before_train(self)
        while self.iter < until:
            self.model.train_step(batch(seed=self.iter), self.optim_wrapper)
            if change is not None:
                change(self.model)
            hook.after_train_iter(self, self.iter)
            self.iter += 1
        return self


@pytest.fixture
def images(image_folder):
    return image_folder('a', 'b', 'c', size=SIZE)


def all_labels_become_road(model):
    """A collapse: both networks that can make labels know one class only."""
    networks = [model.teacher_assistant] + ([model.label_assistant.module] if model.label_assistant else [])
    with torch.no_grad():
        for network in networks:
            network.decode_head.conv_seg.bias[0] = 1e4


def plain_labels(model, images, names):
    """Labels of pictures by the assistant, of the four windows that tile each."""
    network = copy.deepcopy(model.teacher_assistant).eval()
    found = {}
    for name in names:
        rgb = np.array(Image.open(images / f'{name}.png').convert('RGB'))
        image = torch.from_numpy(rgb[..., ::-1].copy()).permute(2, 0, 1)[None] / 64  # the model is fed BGR
        tiles = [network(image[..., left : left + 32], mode='tensor') for left in (0, 32, 64, 96)]
        logits = torch.cat([F.interpolate(tile, (32, 32), mode='bilinear') for tile in tiles], -1)
        found[name] = logits.argmax(1)[0]
    return found


def test_shares_and_agreement_are_logged_at_the_interval_and_at_the_end(images, tmp_path):
    model, counted = build(), []
    start = plain_labels(model, images, 'ab')
    run = Run(tmp_path, images, model, iterations=3)
    run.train(LabelGuardHook(interval=2, panoramas=2), 3, change=lambda model: counted.append(model.label_counts))
    assert list(run.scalars) == [2, 3]
    for step, steps in ((2, counted[:2]), (3, counted[2:])):
        total = sum(steps)
        logged = [run.scalars[step][f'label_share/{name}'] for name in CLASSES]
        assert logged == pytest.approx((total / total.sum()).tolist())
    kept = load_file(tmp_path / START_LABELS)
    assert list(kept) == ['a', 'b']
    assert all(torch.equal(kept[name], start[name]) for name in kept)
    now = plain_labels(model, images, 'ab')
    equal = sum(int((now[name] == start[name]).sum()) for name in start)
    assert 0 < equal < 2 * SIZE[0] * SIZE[1]
    assert run.scalars[3]['label_agreement'] == equal / (2 * SIZE[0] * SIZE[1])
    assert [line.split(':')[0] for line in run.lines] == ['labels, iteration 2', 'labels, iteration 3']
    assert json.loads(json.dumps(run.scalars)) == {str(step): values for step, values in run.scalars.items()}


def test_between_the_intervals_nothing_waits_for_the_device(images, tmp_path):
    run, hook = Run(tmp_path, images, build()), LabelGuardHook(interval=3, panoramas=0)
    run.train(hook, 1)
    assert counted(lambda: hook.after_train_iter(run, run.iter)).waits.total() == 0


def test_with_a_copy_its_labels_count_and_the_assistants_are_shown_beside_them(images, tmp_path):
    model = build(label_momentum=1.0)
    model.init_weights()
    hook = LabelGuardHook(interval=1, panoramas=1)

    def assistant_becomes_road(model):
        with torch.no_grad():
            model.teacher_assistant.decode_head.conv_seg.bias[0] = 1e4

    run = Run(tmp_path, images, model).train(hook, 2, change=assistant_becomes_road)
    assert run.scalars[2]['label_agreement'] == 1
    start = load_file(tmp_path / START_LABELS)['a']
    assert run.scalars[2]['assistant_agreement'] == pytest.approx(float((start == 0).double().mean()))
    assert run.warnings == []


@pytest.mark.parametrize('momentum', [None, 0.9])
def test_a_collapse_is_warned_of_once_with_names_figures_and_remedies(images, tmp_path, momentum):
    model = build(label_momentum=momentum)
    model.init_weights()
    run = Run(tmp_path, images, model)
    run.train(LabelGuardHook(interval=1), 2, change=all_labels_become_road)
    assert list(run.scalars) == [1, 2]
    (warning,) = run.warnings
    start = shares(class_counts(torch.cat([x.flatten() for x in load_file(tmp_path / START_LABELS).values()]), 5))
    for name, share in zip(CLASSES[1:], start.tolist()[1:], strict=True):
        assert (f'{name} fell from {share:.2%} to 0.00%' in warning) == (share >= 0.001)
    assert warning.startswith('labels drift by iteration 1, on 3 training panoramas: ')
    assert f'{start[0]:.1%} of the pixels have the label of the start' in warning
    other = 'label_momentum=0.999 or 1,' if momentum is None else 'label_momentum=1,'
    for remedy in (other, 'update_ta=False', 'teacher_assistant.optimizer.lr'):
        assert remedy in warning


def test_agreement_alone_is_warned_of(images, tmp_path):
    """With kept=0 no class counts as vanished, and with min_agreement=0 no disagreement."""
    hooks = [LabelGuardHook(interval=1, kept=0.0), LabelGuardHook(interval=1, kept=0.0, min_agreement=0.0)]
    warnings = [Run(tmp_path, images, build()).train(hook, 1, all_labels_become_road).warnings for hook in hooks]
    assert warnings[1] == []
    assert re.search(r'training panoramas: \d+\.\d% of the pixels have the label of the start\. The', warnings[0][0])


def test_a_copy_that_hardly_moves_is_not_warned_of(images, tmp_path):
    model = build(label_momentum=0.999)
    model.init_weights()
    run = Run(tmp_path, images, model).train(LabelGuardHook(interval=1), 2)
    assert 0.98 < run.scalars[2]['label_agreement'] < 1
    assert run.warnings == []


def test_a_frozen_assistant_costs_nothing_and_its_labels_are_counted(images, tmp_path):
    model = build(update_ta=False)
    run = Run(tmp_path, images, model)
    model.teacher_assistant.register_forward_pre_hook(lambda *_: run.lines.append('ran'))
    run.train(LabelGuardHook(interval=2), 2)
    assert run.lines[:-1] == ['ran'] * 2  # once per step
    assert set(run.scalars[2]) == {f'label_share/{name}' for name in CLASSES}
    assert math.isclose(sum(run.scalars[2].values()), 1)
    assert not (tmp_path / START_LABELS).exists()


class Without(Hook):
    """In the guard's place."""


@pytest.mark.parametrize('options', [{'norm_eval': ('teacher_assistant',)}, {'label_momentum': 0.5}])
def test_a_guarded_run_is_bit_for_bit_the_unguarded_one(images, tmp_path, options):
    ends = []
    for hook in (LabelGuardHook(interval=1), Without()):
        model = build(**options)
        model.init_weights()
        model.teacher_assistant.decode_head.dropout = torch.nn.Dropout2d(0.5)  # draws random numbers
        torch.manual_seed(1)
        Run(tmp_path, images, model).train(hook, 2)
        modes = [module.training for module in model.modules()]
        ends.append((model.state_dict(), modes, torch.get_rng_state()))
    guarded, unguarded = ends
    assert guarded[0].keys() == unguarded[0].keys()
    assert all(torch.equal(value, unguarded[0][name]) for name, value in guarded[0].items())
    assert guarded[1] == unguarded[1]
    assert torch.equal(guarded[2], unguarded[2])


def test_a_resumed_run_is_compared_with_the_start_of_the_first(images, tmp_path):
    model = build()
    Run(tmp_path, images, model).train(LabelGuardHook(), 0)
    stored = (tmp_path / START_LABELS).read_bytes()
    all_labels_become_road(model)
    resumed = Run(tmp_path, images, model)
    resumed.iter = 1
    resumed.train(LabelGuardHook(interval=1), 2)
    assert (tmp_path / START_LABELS).read_bytes() == stored
    assert resumed.scalars[2]['label_agreement'] < 0.9
    (warning,) = resumed.warnings
    assert warning.startswith('labels drift')


@pytest.mark.parametrize('damage', ['missing', 'cut', 'other'])
def test_without_its_start_a_resumed_run_says_so_and_starts_from_now(images, tmp_path, damage):
    model, path = build(), tmp_path / START_LABELS
    Run(tmp_path, images, model).train(LabelGuardHook(), 0)
    if damage == 'missing':
        path.unlink()
    elif damage == 'cut':
        path.write_bytes(path.read_bytes()[:-1])
    else:
        (images / 'b.png').rename(images / 'd.png')
    resumed = Run(tmp_path, images, model)
    resumed.iter = 5
    resumed.train(LabelGuardHook(), 5)
    (warning,) = resumed.warnings
    told = 'is of other panoramas' if damage == 'other' else 'is missing or damaged'
    assert warning == (
        f'{path} {told}: from here on, labels are compared with those of iteration 5, not with those of the start'
    )
    again = Run(tmp_path, images, model)
    again.iter = 6
    again.train(LabelGuardHook(), 6)
    assert again.warnings == []


def test_settings_out_of_range_are_refused():
    for settings in ({'interval': 0}, {'panoramas': -1}, {'min_agreement': 1.5}, {'min_share': -0.1}, {'kept': 2}):
        with pytest.raises(ValueError, match=r'bounds are from 0 to 1'):
            LabelGuardHook(**settings)
