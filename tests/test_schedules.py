"""The learning rate follows the length of the run, is said to be 0 where it is, and is the config's after resuming."""

import copy
import logging

import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner

from stage2_distill.errors import ConfigError
from stage2_distill.training.experiment import build_runner, read_config
from stage2_distill.training.optimizer_settings import OptimizerSettingsHook
from stage2_distill.training.rate_schedule import RunLength, end_schedulers, rates_of, warnings_of
from stage2_distill.training.schedule_hook import ScheduleHook

CONFIGS = ROOT / 'mmseg_configs'
# Factor and iterations of warm-up, iterations of the run.
LENGTHS = {
    'goodsam_b0.py': (1e-6, 1500, 40000),
    'goodsam_b0_own.py': (1e-6, 1500, 40000),
    'goodsam_b0_onnx.py': (0.01, 30, 400),
    'goodsam_b0_toypass.py': (0.01, 20, 600),
    'source/segformer_b5_cityscapes.py': (1e-6, 1500, 160000),
    'source/segformer_b0_toypass.py': (0.01, 100, 1800),
    'source/segformer_b0_toypass_oracle_whole.py': (0.01, 20, 300),
    'omnisam/source_t_cs13.py': (1e-6, 1500, 3720),
    'omnisam/source_toypass.py': (0.01, 50, 600),
    'omnisam/toy_sam2_patches.py': (0.01, 100, 3000),
    'omnisam/toy_sam2_sequences.py': (0.01, 50, 600),
}


def literal(factor, warm, end):
    return [
        {'type': 'LinearLR', 'start_factor': factor, 'by_epoch': False, 'begin': 0, 'end': warm},
        {'type': 'PolyLR', 'eta_min': 0.0, 'power': 1.0, 'begin': warm, 'end': end, 'by_epoch': False},
    ]


def schedule_of(path, options=None):
    config = read_config(str(path), options)
    end_schedulers(config)
    return config.to_dict()['param_scheduler']


def test_every_config_ends_its_schedule_with_the_run_and_follows_another_length():
    for name, (factor, warm, end) in LENGTHS.items():
        config = read_config(str(CONFIGS / name))
        for length in (end, 5000):
            config.train_cfg.max_iters = length if length != end else config.train_cfg.max_iters
            changed = copy.deepcopy(config)
            end_schedulers(changed)
            assert changed.to_dict()['param_scheduler'] == literal(factor, warm, length), name
    written = [path for path in CONFIGS.rglob('*.py') if 'param_scheduler' in path.read_text()]
    assert len(written) == 12
    assert not any('end' in Config.fromfile(path).param_scheduler[-1] for path in written)


def test_the_rates_of_a_run_by_hand():
    rates = rates_of(literal(0.01, 20, 600), 1e-4, RunLength(600, None), 1)
    warm = [1e-4 * (0.01 + 0.99 * i / 19) for i in range(20)]
    assert rates == pytest.approx([*warm, *(1e-4 * (1 - i / 579) for i in range(580))], abs=1e-15)


def write_config(folder, schedule, base='goodsam_b0_toypass.py', more=''):
    path = folder / 'custom.py'
    path.write_text(f"_base_ = '{CONFIGS}/{base}'\nparam_scheduler = {schedule}\n{more}\n")
    return path


def test_a_custom_schedule_that_ended_with_the_run_does_so_at_another_length(tmp_path):
    path = write_config(tmp_path, literal(0.5, 2, 4), more='train_cfg = dict(max_iters=4)')
    assert schedule_of(path, {'train_cfg.max_iters': 8}) == literal(0.5, 2, 8)
    assert schedule_of(path, {'train_cfg.max_iters': 8, 'param_scheduler.0.begin': 0}) == literal(0.5, 2, 8)
    # One that stayed idle because the run ended before it began, as the config that a run writes has it.
    assert schedule_of(write_config(tmp_path, literal(0.5, 6, 7), more='train_cfg = dict(max_iters=4)'), {
        'train_cfg.max_iters': 20}) == literal(0.5, 6, 20)  # fmt: skip
    path = write_config(tmp_path, literal(0.5, 2, 4), more='train_cfg = dict(max_iters=4)')
    # What is given counts, and what ended elsewhere stays.
    assert schedule_of(path, {'train_cfg.max_iters': 8, 'param_scheduler.1.end': 4}) == literal(0.5, 2, 4)
    path = write_config(tmp_path, literal(0.5, 2, 3), more='train_cfg = dict(max_iters=4)')
    assert schedule_of(path, {'train_cfg.max_iters': 8}) == literal(0.5, 2, 3)
    cosine = {'type': 'CosineAnnealingLR', 'T_max': 4, 'end': 4, 'by_epoch': False}
    path = write_config(tmp_path, cosine, more='param_scheduler["_delete_"] = True\ntrain_cfg = dict(max_iters=4)')
    followed = schedule_of(path, {'train_cfg.max_iters': 8})
    assert (followed['T_max'], followed['end']) == (8, 8)


@pytest.mark.parametrize(
    ('schedule', 'length', 'expected'),
    [
        (literal(0.5, 2, 4), 8, 'is 0 in iterations 4 to 8 of 8, because the schedule ends ...(PolyLR at iteration 4)'),
        (literal(0.5, 2, 8), 8, ''),
        (literal(0.5, 2, 5), 6, 'is 0 in iterations 5 to 6 of 6'),
        (literal(1e-6, 1500, 1501), 200, 'all 200 iterations are warm-up (LinearLR until iteration 1500): ...0.13 of'),
        (literal(1e-6, 1500, 1501), 200, '--cfg-options param_scheduler.0.end=10 param_scheduler.1.begin=10'),
        (literal(0.1, 60, 100), 100, '60 of 100 iterations are warm-up'),
        (literal(0.1, 50, 100), 100, ''),
        (
            [{'type': 'LinearLR', 'start_factor': 0.1, 'end': 1}],
            100,
            'LinearLR counts epochs and this run ...by_epoch=',
        ),
        ([{'type': 'MultiStepLR', 'milestones': [50, 90], 'by_epoch': False}], 100, ''),
        ({'type': 'ConstantLR', 'factor': 0.5, 'end': 200, 'by_epoch': False}, 100, 'all 100 ...reaches 0.5 of'),
        ({'student': literal(0.5, 2, 4), 'teacher_assistant': literal(0.5, 2, 8)}, 8, 'is 0 in iterations 4 to 8'),
        ([], 100, ''),
        (None, 100, ''),
    ],
)
def test_a_rate_of_0_and_endless_warm_up_are_said_before_training(schedule, length, expected):
    config = read_config('goodsam_b0_toypass.py', {'train_cfg.max_iters': length})
    config.param_scheduler = schedule
    config.default_hooks.checkpoint.interval = 1
    end_schedulers(config)
    lines = warnings_of(config, 10)
    assert len(lines) == (1 if expected else 0)
    assert all(part in ''.join(lines) for part in expected.split('...'))


def test_schedules_of_epochs_are_counted_in_epochs():
    config = read_config('goodsam_b0_toypass.py')
    config.train_cfg = {'by_epoch': True, 'max_epochs': 4}
    config.default_hooks.checkpoint = {'type': 'AtomicCheckpointHook', 'interval': 1}
    config.param_scheduler = [{'type': 'PolyLR', 'end': 2}]
    (line,) = warnings_of(config, 5)
    assert 'is 0 in iterations 6 to 20 of 20' in line
    config.param_scheduler = [{'type': 'PolyLR'}]
    end_schedulers(config)
    assert config.param_scheduler[0].end == 4
    assert 'is 0 in iterations 16 to 20 of 20' in warnings_of(config, 5)[0]  # the last epoch of such a decay


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ({'default_hooks.checkpoint.interval': 500}, 'saved only at the end: ...interval=500, and the run has 100'),
        ({'default_hooks.checkpoint.interval': 500, 'default_hooks.checkpoint.save_last': False}, 'are saved never'),
        ({'default_hooks.checkpoint': None}, 'nothing is saved: default_hooks.checkpoint is None'),
        ({'train_cfg.val_begin': 101}, 'nothing is validated: train_cfg.val_begin=101, and the run has 100 iterations'),
        ({'train_cfg.val_interval': 500}, ''),  # MMEngine validates after the last iteration too
    ],
)
def test_what_a_run_is_too_short_to_save_or_validate_is_said(options, expected):
    config = read_config('goodsam_b0_toypass.py', {'train_cfg.max_iters': 100, **options})
    end_schedulers(config)
    lines = warnings_of(config, 10)
    assert len(lines) == (1 if expected else 0)
    assert all(part in ''.join(lines) for part in expected.split('...'))


def test_the_warning_is_logged_when_the_runner_is_built_and_bad_schedules_are_one_line(tiny_goodsam, tmp_path, caplog):
    config = read_config(str(tiny_goodsam), {'work_dir': str(tmp_path), 'visualizer.vis_backends': []})
    config.param_scheduler = literal(0.5, 1, 3)
    runner = build_runner(config)
    runner.logger.handlers[0].flush()
    (log,) = tmp_path.glob('*/*.log')
    assert 'WARNING - the learning rate is 0 in iterations 3 to 4 of 4' in log.read_text()
    config.param_scheduler = literal(0.5, 2, 1)
    with pytest.raises(ConfigError, match='cannot be built: ValueError: end should be larger than begin'):
        build_runner(config)


# --- resuming ---


class Line(BaseModel):
    """One weight for each of two rates."""

    def __init__(self):
        super().__init__()
        self.backbone, self.head = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)

    def forward(self, x, mode='loss'):
        return {'loss': (self.backbone(x) + self.head(x)).square().mean()}


class Rates(Hook):
    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen.append([group['lr'] for group in runner.optim_wrapper.param_groups])


@pytest.fixture
def rates(tmp_path):
    """Trains in a work dir and returns the rates of each iteration and what was warned of."""

    def run(
        schedule, length, lr=0.1, folder='work', resume=True, said=('learning rate', 'nothing is left'), **optimizer
    ):
        warned = []
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: warned.append(record.getMessage())
        seen = Rates()
        runner = Runner(
            Line(), str(tmp_path / folder),
            train_dataloader={
                'dataset': [[torch.ones(1)]] * 3, 'batch_size': 1,
                'sampler': {'type': 'InfiniteSampler', 'shuffle': False}, 'collate_fn': {'type': 'default_collate'},
            },
            train_cfg={'by_epoch': False, 'max_iters': length},
            optim_wrapper={
                'optimizer': {'type': 'AdamW', 'lr': lr, **optimizer},
                'paramwise_cfg': {'custom_keys': {'head': {'lr_mult': 10}}},
            },
            param_scheduler=schedule, resume=resume, default_scope='mmengine',
            custom_hooks=[ScheduleHook(), OptimizerSettingsHook(), seen],
            default_hooks={'checkpoint': {'type': 'CheckpointHook', 'by_epoch': False, 'interval': 2}},
            visualizer={'type': 'Visualizer', 'vis_backends': []}, log_level='WARNING',
            experiment_name=f'{folder}_{length}_{lr}_{len(list(tmp_path.rglob("*")))}', randomness={'seed': 0},
        )  # fmt: skip
        runner.logger.addHandler(handler)
        runner.train()
        return seen.seen, [line for line in warned if any(part in line for part in said)]

    return run


def test_a_resumed_run_has_the_rates_of_its_config(rates):
    whole, _ = rates(literal(0.5, 2, 8), 8, folder='whole')
    first, _ = rates(literal(0.5, 2, 4), 4)
    assert set(first[3]) == {0}
    longer, (line,) = rates(literal(0.5, 2, 8), 8)
    assert longer == whole[4:]  # to the last digit, and so for both rates
    assert len(set(whole[4])) == 2
    assert "from iteration 5 on the learning rate is that of the config's schedule, 0.06" in line
    again, (line,) = rates(literal(0.5, 2, 8), 8)
    assert (again, 'nothing is left to train: the checkpoint is of iteration 8' in line) == ([], True)


def test_a_run_that_goes_on_unchanged_is_restored_as_it_was_and_another_rate_counts(rates, tmp_path):
    whole, _ = rates(literal(0.5, 2, 8), 8, folder='whole')
    rates(literal(0.5, 2, 8), 8)
    work = tmp_path / 'work'
    (work / 'last_checkpoint').write_text(str(work / 'iter_4.pth'))
    assert rates(literal(0.5, 2, 8), 8) == (whole[4:], [])
    (work / 'last_checkpoint').write_text(str(work / 'iter_4.pth'))
    other, (line,) = rates(literal(0.5, 2, 8), 8, lr=0.2)
    assert torch.tensor(other) == pytest.approx(2 * torch.tensor(whole[4:]))
    (work / 'last_checkpoint').write_text(str(work / 'iter_4.pth'))
    once, _ = rates({'type': 'OneCycleLR', 'eta_max': 0.3, 'by_epoch': False}, 8, folder='once')
    cycle, (line,) = rates({'type': 'OneCycleLR', 'eta_max': 0.3, 'by_epoch': False}, 8)
    assert cycle == once[4:]
    assert "config's schedule" in line


def test_settings_of_the_optimizer_that_a_resumed_run_keeps_are_said(rates):
    said = {'said': ('the optimizer',)}
    assert rates([], 2, folder='kept', **said)[1] == []
    assert rates([], 4, folder='kept', **said)[1] == []
    _, lines = rates([], 6, folder='kept', weight_decay=0.5, betas=(0.8, 0.999), **said)
    assert [line.partition(';')[0] for line in lines] == [
        "the optimizer keeps the checkpoint's betas, (0.9, 0.999), not the config's (0.8, 0.999)",
        "the optimizer keeps the checkpoint's weight_decay, 0.01, not the config's 0.5",
    ]
