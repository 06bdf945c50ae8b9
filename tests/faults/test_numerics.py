"""Numbers that are none: training stops and says of what; overflow of float16 is left to MMEngine's scaler."""

from __future__ import annotations

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper
from test_goodsam import batch, build, optimizers

from stage2_distill.errors import TrainingError
from stage2_distill.training.hooks import StopOnBadLossHook

_BAD = [math.nan, math.inf, -math.inf]


def complaint(hook, wrapper, outputs) -> str | None:
    """What the hook says of an iteration's outputs, None if nothing."""
    runner = SimpleNamespace(iter=6, work_dir='work', optim_wrapper=wrapper)
    try:
        hook.after_train_iter(runner, 0, None, outputs)
    except TrainingError as problem:
        return str(problem)
    return None


def spoil(module: torch.nn.Module, value: float) -> None:
    """One weight of the last layer is NaN."""
    with torch.no_grad():
        list(module.parameters())[-1].view(-1)[0] = value


@pytest.mark.parametrize('value', _BAD)
@pytest.mark.parametrize('network', ['teacher_assistant', 'student'])
@pytest.mark.parametrize('update_ta', [True, False])
def test_logits_that_are_no_numbers_stop_training_by_name(trials, network, value, update_ta):
    """With a frozen assistant all losses may be numbers: those of labels that mean nothing."""
    model = build(update_ta=update_ta)
    wrapper = optimizers(model)
    assert complaint(StopOnBadLossHook(), wrapper, model.train_step(batch(), wrapper)) is None
    spoil(getattr(model, network), value)
    said = complaint(StopOnBadLossHook(), wrapper, model.train_step(batch(), wrapper))
    # A class that is impossible everywhere is a possible answer; it becomes NaN where it is taught.
    if value == -math.inf and said is None:
        trials.count('logits that are minus infinity, possible', 1)
        return
    name = "the entropy of the teacher assistant's logits is" if network == 'teacher_assistant' else 'loss_ce_ta_s is'
    trials.count('logits that are not finite', 1, not (said and name in said and said.startswith('iteration 7: ')))


@pytest.mark.parametrize('value', _BAD)
def test_every_term_that_is_no_number_is_named(trials, value):
    names = ['loss_ce_t_ta', 'loss_cc', 'loss_bd_t_ta', 'loss_ce_ta_s', 'loss_ce_t_s', 'loss_bd_t_s']
    model = build()
    log = model.train_step(batch(), optimizers(model))
    assert set(names) < set(log)
    for name in names:
        said = complaint(StopOnBadLossHook(), OptimWrapper(torch.optim.SGD(model.parameters())), {
            **log, name: torch.tensor(value)
        })  # fmt: skip
        trials.count('loss terms that are not finite', 1, not (said and f'{name} is {value}' in said))


class Scaled(OptimWrapper):
    """As MMEngine's wrapper for float16, which needs a GPU."""

    loss_scaler = None


def test_an_overflow_that_the_scaler_leaves_out_is_passed_over_but_not_for_ever(trials):
    wrapper = Scaled(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))]))
    hook = StopOnBadLossHook(patience=3)
    overflow, fine = {'loss': math.inf, 'entropy': 1.0}, {'loss': 1.0, 'entropy': 1.0}
    for outputs in (overflow, overflow, fine, overflow, overflow):
        assert complaint(hook, wrapper, outputs) is None
    assert 'loss is inf' in complaint(hook, wrapper, overflow)
    # Labels of an assistant whose logits overflow would be taught: at once.
    assert 'entropy' in complaint(StopOnBadLossHook(), wrapper, {**fine, 'entropy': math.nan})
    plain = OptimWrapper(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))]))
    assert 'loss is inf' in complaint(StopOnBadLossHook(), plain, overflow)
    trials.count('overflow of float16', 6)


def test_mmengines_scaler_leaves_an_overflowing_step_out_and_lowers_its_scale(trials, monkeypatch):
    """Its wrapper asks for a GPU; PyTorch's scaler works on a CPU as well."""
    monkeypatch.setattr('mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available', lambda: True)
    monkeypatch.setattr(
        'mmengine.optim.optimizer.amp_optimizer_wrapper.GradScaler', partial(torch.amp.GradScaler, 'cpu')
    )
    model = build(mka_head={'type': 'MKAHead', 'whole_image': 1e5, 'ensemble_ta': 1e5})
    wrapper = optimizers(model, 'AmpOptimWrapper', loss_scale={'init_scale': 2.0**127}, dtype='bfloat16')
    before = [p.detach().clone() for p in model.student.parameters()]
    log = model.train_step(batch(), wrapper)
    assert all(torch.equal(old, new) for old, new in zip(before, model.student.parameters(), strict=True))
    assert wrapper['student'].loss_scaler.get_scale() == 2.0**126
    assert complaint(StopOnBadLossHook(), wrapper, log) is None
    steps = 0
    while all(map(torch.equal, before, model.student.parameters())):  # until the scale is low enough
        log = model.train_step(batch(), wrapper)
        assert complaint(StopOnBadLossHook(), wrapper, log) is None
        steps += 1
        assert steps < 60
    assert all(p.isfinite().all() for p in model.parameters())
    trials.count('overflow of float16', 1 + steps)


def test_bfloat16_does_not_overflow_where_float16_would(trials):
    """Logits of 1e6 are beyond float16."""
    model = build()
    with torch.no_grad():
        model.teacher_assistant.decode_head.conv_seg.weight.mul_(1e6)
        model.student.decode_head.conv_seg.weight.mul_(1e6)
    wrapper = optimizers(model, 'BFloat16OptimWrapper')
    assert complaint(StopOnBadLossHook(), wrapper, model.train_step(batch(), wrapper)) is None
    trials.count('overflow of float16', 1)


def test_the_same_seed_gives_the_same_training_bit_for_bit(trials):
    ends = []
    for seed in (0, 0, 1):
        model = build(seed)
        wrapper = optimizers(model)
        logs = [model.train_step(batch(seed=step), wrapper)['loss'] for step in range(trials.many(2, 8))]
        ends.append([torch.stack(logs), *(value.clone() for value in model.state_dict().values())])
    same, other = (all(map(torch.equal, ends[0], ends[i])) for i in (1, 2))
    assert not other
    trials.count('same seed, same training', 1, not same)
