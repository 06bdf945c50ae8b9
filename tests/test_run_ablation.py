"""The ablation tables: their rows are the paper's, and the tool runs, stops, goes on and draws."""

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from PIL import Image
from test_source_training import complaint, load_tool

from ablation.collapse import collapse, drift, drift_plot, suspects
from ablation.ensembles import Tally
from ablation.jobs import Job, config_of, masks_of, settings_of
from ablation.omnisam import OMNISAM, SCORINGS
from ablation.report import markdown
from ablation.rows import BASE, SIMULATED, assistant, assistant_sizes, difference, paper_row
from ablation.running import run as run_job
from ablation.tables import TABLES, table3
from stage2_distill.checkpoints.shipped_weights import load_from_goodsam
from stage2_distill.errors import ConfigError
from stage2_distill.fusion.ensemble import Fused
from stage2_distill.omnisam.prediction import PredictionSettings
from stage2_distill.omnisam.window_choice import WindowChoice

SMALL = ('model.grid.window=(100,128)', 'model.grid.stride=64')
SMALL += tuple(
    f'{name}_dataloader.{key}' for name in ('train', 'test') for key in ('num_workers=0', 'persistent_workers=False')
)


@pytest.fixture
def make_table(tool_server, monkeypatch, capsys):
    """Run tools/run_ablation.py in this process, and the tools that it calls by the server; return what it prints."""

    def start(command, stdout, **options):
        assert command[0] == sys.executable and options == {'stderr': subprocess.STDOUT, 'check': False}
        finished = tool_server.run(command[1:])
        stdout.write(finished.stdout + finished.stderr)
        return finished

    def run(*flags, status=0):
        starts = SimpleNamespace(run=start, STDOUT=subprocess.STDOUT)
        monkeypatch.setattr('ablation.running.subprocess', starts)
        monkeypatch.setattr('sys.argv', ['run_ablation.py', *map(str, flags)])
        assert load_tool('run_ablation').main() == status
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize('table', TABLES)
def test_the_rows_of_every_table_have_names_of_their_own_and_fit_the_config(table):
    rows = TABLES[table]()
    assert len({row.name for row in rows}) == len(rows) > 2
    for row in rows:
        config = Config.fromfile(row.config)
        config.merge_from_dict(row.changes)
        assert row.config != BASE or config.model.student.type == 'EncoderDecoder'


def test_a_difference_merged_gives_the_other_config():
    old = {'a': 1, 'b': {'type': 'X', 'c': 2, 'd': 3}, 'e': {'f': 4}}
    new = {'a': 1, 'b': {'type': 'Y', 'c': 2}, 'e': {'f': 5}}
    changes = difference(new, old)
    assert changes == {'b': {'type': 'Y', 'c': 2, '_delete_': True}, 'e': {'f': 5}}
    merged = Config(old)
    merged.merge_from_dict(changes)
    assert merged.to_dict() == new


def test_table_3_has_the_terms_of_the_papers_rows():
    rows = {row.name.split(':')[0]: row for row in table3()}
    assert set('12345678') <= set(rows)
    for number in range(4, 9):
        changes = {**paper_row(f'table3_row{number}'), 'update_ta': True}
        assert rows[str(number)].changes['model'] == changes
    assert 'ensemble_student' in rows['6'].changes['model']['mka_head']
    assert 'mka_head' not in rows['8'].changes['model']


def test_a_row_gives_the_same_config_every_time(tmp_path):
    tool = load_tool('run_ablation')
    args = tool.build_parser().parse_args(['table5', '--data', str(tmp_path), '--iterations', '7'])
    ssa = next(row for row in TABLES['table5']() if row.name.startswith('SSA'))
    configs = [config_of(Job(ssa, 3, tmp_path), args) for _ in range(2)]
    assert configs[0].pretty_text == configs[1].pretty_text
    assert configs[0].model.ctcf_head.fusion.to_dict() == {'type': 'SSAFusion'}
    assert (configs[0].randomness.seed, configs[0].train_cfg.max_iters) == (3, 7)
    assert configs[0].test_dataloader.dataset.root == str(tmp_path)
    steps = configs[0].param_scheduler
    assert 7 > steps[-1].begin >= steps[0].begin == 0
    assert 'end' not in steps[-1]  # the learning rate falls to 0 with the run


def test_a_table_in_a_moved_folder_is_the_same(tmp_path):
    tool = load_tool('run_ablation')
    row = TABLES['table3']()[0]
    both = []
    for folder in (tmp_path / 'here', tmp_path / 'there'):
        args = tool.build_parser().parse_args(['table3', '--out', str(folder)])
        both.append(settings_of(Job(row, 0, folder), args))
    assert both[0] == both[1]


def test_the_oracle_is_taught_by_the_labels_of_the_data_that_is_given(tmp_path):
    tool = load_tool('run_ablation')
    args = tool.build_parser().parse_args(['controls', '--data', str(tmp_path)])
    row = next(row for row in TABLES['controls']() if 'oracle' in row.name)
    config = config_of(Job(row, 0, tmp_path), args)
    train = config.train_dataloader.dataset
    assert (train.root, train.labels) == (str(tmp_path), str(tmp_path / 'truth/target/train'))
    assert config.test_dataloader.dataset.root == str(tmp_path)


def test_a_table_is_made_once_and_then_read(tiny_toypass, make_table, monkeypatch, tmp_path):
    data, _ = tiny_toypass
    flags = ('table3', '--data', data, '--out', tmp_path, '--rows', 'eq 4, 5, a', '--cfg-options', *SMALL)
    hold = 'import sys; from stage1_sam_cache.system.folder_lock import hold\nwith hold(sys.argv[1]): print(); input()'
    command = [sys.executable, '-uc', hold, tmp_path / 'table3/1-whole/seed0']
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == '\n'
        first = make_table(*flags, '--iterations', '1', '--rows', '1: whole', 'eq 4, 5, a', status=1)
        holder.communicate('\n')
    assert '2 rows, 2 runs, 0 of them done before' in first
    assert first.endswith('another process is at 1: whole, seed 0: run this again when it has ended\n')
    table = (tmp_path / 'table3/table.md').read_text()
    assert table.strip() in first
    head, _, line = table.strip().splitlines()
    assert head.startswith('| | ensemble | assistant, windows | student | student, boundary | student, seam |')
    scores = json.loads((tmp_path / 'table3/eq-4-5-assistant-frozen/seed0/scores.json').read_text())['scores']
    found = {score['mode']: f'{score["mIoU"]:.2f}' for score in scores}
    assert line.split(' | ')[1:4] == [found['ensemble'], found['ta_tile'], found['student']]
    with Image.open(tmp_path / 'table3/plot.png') as picture:
        assert min(picture.size) > 100
    with Image.open(tmp_path / 'table3/eq-4-5-assistant-frozen/seed0/picture.png') as picture:
        assert picture.size == (1024, 3 * 126)  # two columns of three panels
    with Image.open(tmp_path / 'table3/pictures.jpg') as picture:
        assert picture.size == (3 * 480, 2 * 118 + 20)  # image, truth, before; then the row under its name

    again = make_table(*flags, '--iterations', '1')
    assert '1 rows, 1 runs, 1 of them done before' in again
    assert table.strip() in again
    # Another row joins the table.
    (tmp_path / 'table3/1-whole/seed3').mkdir(parents=True)
    shutil.copy(
        tmp_path / 'table3/eq-4-5-assistant-frozen/seed0/scores.json', tmp_path / 'table3/1-whole/seed3/scores.json'
    )
    make_table(*flags, '--iterations', '1')
    assert [text.split(' | ')[0] for text in (tmp_path / 'table3/table.md').read_text().splitlines()[2:]] == [
        '| 1: whole', '| eq 4, 5, assistant frozen'
    ]  # fmt: skip
    other = complaint('run_ablation', monkeypatch, *flags, '--iterations', '2')
    assert other.endswith('was made with other settings; remove it or give another --out')


def test_omnisams_rows_have_a_line_for_each_way_of_scoring(tiny_toypass, make_table, tmp_path):
    pytest.importorskip('sam2')
    data, _ = tiny_toypass
    grids = ((128, 64), (100, 128))
    grid = [f'model.grid.{i}.{key}' for i, (h, s) in enumerate(grids) for key in (f'window=({h},128)', f'stride={s}')]
    small = (*SMALL[2:], 'model.weights=None', 'model.patch_size=64', *grid, 'train_dataloader.batch_size=1')
    flags = ('omnisam', '--data', data, '--out', tmp_path, '--rows', 'mask_input=none', '--iterations', '1')
    text = make_table(*flags, '--limit', '2', '--cfg-options', *small)
    head, _, *lines = (tmp_path / 'omnisam/table.md').read_text().strip().splitlines()
    assert '\n'.join([head, _, *lines]) in text
    assert head.startswith('| | source | target | target, boundary | target, seam |')
    names = ['mask_input=none: both laps', 'mask_input=none: both laps, without memory']
    assert [line.split(' | ')[0] for line in lines] == [f'| {name}' for name in names]
    scores = json.loads((tmp_path / 'omnisam/mask-input-none/seed0/scores.json').read_text())['scores']
    with_memory = {score['mode']: score['mIoU'] for score in scores if score['scoring'] == 'both laps'}
    assert lines[0].split(' | ')[1:3] == [f'{with_memory[domain]:.2f}' for domain in ('source', 'target')]
    config = Config.fromfile(tmp_path / 'omnisam/mask-input-none/seed0/scored.py')
    assert (config.model.test_cfg.memory, config.model.test_cfg.laps) == ('off', 'both')


def test_adaptations_start_from_the_source_models_of_their_seeds(tiny_toypass, make_table, monkeypatch, tmp_path):
    pytest.importorskip('sam2')
    data, _ = tiny_toypass
    grids = ((128, 64), (100, 128))
    small = [f'model.grid.{i}.{key}' for i, (h, s) in enumerate(grids) for key in (f'window=({h},128)', f'stride={s}')]
    small += [f'{name}_dataloader.num_workers=0' for name in ('train', 'test')]
    small += ['test_dataloader.persistent_workers=False', 'model.patch_size=64', 'model.prototypes.index=class']
    small += ['default_hooks.rounds.labelling.threshold=0.07', 'default_hooks.rounds.guard.panoramas=1']
    flags = ('omnisam_adaptation', '--data', data, '--out', tmp_path, '--rows', 'before', 'static', '--iterations', '4')
    flags = (*flags, '--seeds', '1', '--limit', '1', '--cfg-options', *small)
    started = tmp_path / 'omnisam/class-ids-default/seed1'
    told = complaint('run_ablation', monkeypatch, *flags)
    assert told.startswith(f'before, seed 1: {started} has no finished model to start from; run this first: ')
    assert 'tools/run_ablation.py omnisam --rows "class_ids (default)" --seeds 1 ' in told

    init_default_scope('mmseg')
    config = Config.fromfile(OMNISAM).model
    config.weights = None
    (started / 'work').mkdir(parents=True)
    torch.save({'state_dict': MODELS.build(config).state_dict(), 'meta': {}}, started / 'work/iter_1.pth')
    (started / 'scores.json').write_text('{"model": "iter_1.pth"}')
    (started / 'settings.json').write_text('{"config": "one"}')
    make_table(*flags)
    head, _, *lines = (tmp_path / 'omnisam_adaptation/table.md').read_text().strip().splitlines()
    assert head.endswith('| target, bottom | labels, coverage | labels, accuracy | labels, mIoU |')
    assert [line.split(' | ')[0] for line in lines] == ['| before: both laps', '| static labels: both laps']
    labels = json.loads((tmp_path / 'omnisam_adaptation/static-labels/seed1/labels.json').read_text())
    assert [each['round'] for each in labels] == [0, 1, 2, 3]  # a round of one iteration and of one panorama each
    figures = [f'{100 * labels[-1][name]:.2f}' for name in ('coverage', 'accuracy', 'mIoU')]
    assert lines[1].strip('| ').split(' | ')[-3:] == figures
    assert not list((tmp_path / 'omnisam_adaptation').rglob('*.pth')) and (started / 'work/iter_1.pth').exists()
    # Another source model is another table; without one, what is there is still shown.
    (started / 'settings.json').write_text('{"config": "two"}')
    assert 'was made with other settings' in complaint('run_ablation', monkeypatch, *flags)
    shutil.rmtree(started)
    assert '\n'.join(lines) in make_table(*flags)


def test_goodsams_assistant_is_the_source_model_of_the_seed(monkeypatch, tmp_path):
    flags = ('omnisam_assistant', '--data', str(tmp_path / 'data'), '--out', str(tmp_path))
    args = load_tool('run_ablation').build_parser().parse_args(flags)
    omnisam, adapted, segformer = TABLES['omnisam_assistant']()
    assert adapted.start == ('omnisam_adaptation', 'default')
    started = tmp_path / 'omnisam/class-ids-default/seed2'
    (started / 'work').mkdir(parents=True)
    (started / 'work/iter_9.pth').touch()
    (started / 'scores.json').write_text('{"model": "iter_9.pth"}')
    (started / 'settings.json').write_text('{"config": "", "limit": 2}')
    jobs = [Job(row, 2, tmp_path / f'omnisam_assistant/{row.name}/seed2') for row in (omnisam, segformer)]
    configs = []
    monkeypatch.setattr('ablation.running.cache', lambda *_: None)
    monkeypatch.setattr('ablation.running.call', Mock(side_effect=ConfigError('stopped')))  # what would train
    for job in jobs:
        with pytest.raises(ConfigError, match='stopped'):
            run_job(job, args)
        configs.append(Config.fromfile(job.folder / 'config.py'))
    one, other = configs
    assert one.model.teacher_assistant.init_cfg.checkpoint == str(started / 'work/iter_9.pth')
    assert settings_of(jobs[0], args)['start'] == {'config': ''} and 'start' not in settings_of(jobs[1], args)
    assert str(tmp_path / 'omnisam/') not in settings_of(jobs[0], args)['config']  # it can be moved
    assert one.train_dataloader.dataset.root == str(tmp_path / 'data')
    assert other.model.teacher_assistant.type == 'MergedClasses'
    assert {each.model.update_ta for each in (one, other)} == {False}
    assert {masks_of(row, args) for row in (omnisam, segformer)} == {'toy-sam'}


def test_what_omnisam_is_scored_by_fits_its_config():
    for way, scoring in SCORINGS.items():
        config = Config.fromfile(OMNISAM)
        config.merge_from_dict(scoring.changes)
        settings = PredictionSettings.of(config.model.test_cfg.to_dict())
        ring = settings.laps == 'ring'
        assert WindowChoice(config.model.grid).over(200, 1024).wrap == ('across the seam' in way)
        assert ring <= ('across the seam' in way)
        assert (settings.memory == 'other') == (config.test_dataloader.get('batch_size', 1) > 1)


def test_every_assistant_that_comes_with_the_project_has_its_own_weights():
    assert {0, 2} <= set(assistant_sizes())
    for size, file in ((0, 'segformer_b0'), (2, 'segformer_b2_int8')):
        config = Config.fromfile(BASE)
        config.merge_from_dict({'model': assistant(size)})
        network = config.model.teacher_assistant
        weights = load_from_goodsam(network.init_cfg.checkpoint, 'cpu')['state_dict']
        first = weights['backbone.layers.0.0.projection.weight']
        assert network.init_cfg.checkpoint == f'goodsam://{file}.safetensors'
        assert len(first) == network.backbone.embed_dims == network.decode_head.in_channels[0]


def test_damage_grows_along_each_line_of_the_curve():
    kinds = {name.split()[0] for name in SIMULATED}
    assert kinds == {'merge', 'cut', 'rough', 'erode', 'drop', 'all'}
    parser = load_tool('cache_truth').build_parser()
    for kind in kinds:
        lines = [flags for name, (_, *flags) in SIMULATED.items() if name.split()[0] == kind]
        args = [vars(parser.parse_args(['--out', 'x', *flags])) for flags in lines]
        assert len(lines) == 3
        for flag in ('merge', 'cut', 'rough', 'erode', 'drop') if kind == 'all' else (kind,):
            amounts = [values[flag] for values in args]
            assert 0 < amounts[0] <= amounts[1] <= amounts[2] and amounts[0] < amounts[2]


def test_masks_and_their_ensembles_are_scored_once_without_training(
    tiny_toypass, run_tool, make_table, monkeypatch, tmp_path
):
    data, _ = tiny_toypass
    flags = ('mask_quality', '--data', data, '--out', tmp_path, '--untrained', '--rows', 'truth', 'all much')
    first = make_table(*flags, '--cfg-options', *SMALL)
    assert '2 rows, 0 runs, 0 of them done before\nscoring the masks of 2 rows' in first
    head, _, *lines = (tmp_path / 'mask_quality/table.md').read_text().splitlines()
    assert head == (
        '| | masks, mean IoU | masks, coverage | assistant | ensemble, CTCF | ensemble, CTCF, level means '
        '| ensemble, SSA |'
    )
    names, iou, coverage, alone, *_ = zip(*(line.strip('| ').split(' | ') for line in lines), strict=True)
    assert names == ('truth', 'all much') and iou[0] == coverage[0] == '100.00'
    assert float(iou[1]) < 60 and float(coverage[1]) < 80
    with Image.open(tmp_path / 'mask_quality/plot.png') as picture:
        assert min(picture.size) > 100
    # The assistant and the ensembles are those that tools/test.py scores.
    config, cache = tmp_path / 'mask_quality/assistant.py', tmp_path / 'cache/truth_100x128_64_wrap/val'
    out = tmp_path / 'scores.json'
    chosen = ('--predictor', 'ta_tile', 'ensemble', '--work-dir', tmp_path / 'work', '--out', out)
    tested = run_tool('test.py', config, '--cache', cache, *chosen)
    assert tested.returncode == 0, tested.stderr[-2000:]
    tile, ensemble = (score['mIoU'] for score in json.loads(out.read_text())['scores'])
    found = json.loads((tmp_path / 'mask_quality/truth/masks.json').read_text())['scores']
    assert (found['assistant'], found['ensembles']['CTCF']['miou']) == pytest.approx((tile, ensemble), abs=0.01)
    assert set(alone) == {f'{found["assistant"]:.2f}'}

    again = make_table(*flags, '--cfg-options', *SMALL)
    assert 'scoring' not in again and '\n'.join(lines) in again
    changed = (*SMALL, 'model.teacher_assistant.decode_head.channels=128')
    other = complaint('run_ablation', monkeypatch, *flags, '--cfg-options', *changed)
    assert other.endswith('masks.json was made with other settings; remove it or give another --out')


def test_reliable_pixels_and_their_accuracy_are_counted_by_weight():
    tally = Tally(3)
    truth = np.array([[0, 0, 1, 1, 2, 255]])
    labels, weight = torch.tensor([[0, 1, 1, 255, 2, 0]]), torch.tensor([[1.0, 1, 1, 0, 0, 1]])
    tally.add(truth, Fused(labels, weight))
    scores = tally.scores()
    assert scores[1:] == pytest.approx((60, 200 / 3, 50))
    assert scores.miou == pytest.approx(100 * (1 / 2 + 1 / 3 + 1) / 3)


def test_seeds_become_mean_and_spread(tmp_path):
    row = TABLES['table3']()[0]
    jobs = [Job(row, seed, tmp_path / str(seed)) for seed in range(3)]
    for job, value in zip(jobs, (30.0, 31.0, 35.0), strict=True):
        job.folder.mkdir()
        job.scores.write_text(json.dumps({'scores': [{'mode': 'student', 'mIoU': value}]}))
    assert markdown([row], jobs).splitlines()[-1] == '| 1: whole | 32.00 ± 2.65 |'
    assert markdown([row], jobs[:1]).splitlines()[-1] == '| 1: whole | 30.00 |'


def test_a_run_that_fails_is_told_in_one_line(tiny_toypass, monkeypatch, capsys, tmp_path):
    flags = ('table3', '--data', tmp_path / 'nothing', '--out', tmp_path, '--rows')
    complaint('run_ablation', monkeypatch, *flags, 'row 9')
    assert 'no row of table3 contains row 9' in capsys.readouterr().err
    complaint('run_ablation', monkeypatch, *flags, '2:', '--seeds', '-1')
    assert "--seeds: '-1' is not a whole number from 0" in capsys.readouterr().err
    complaint('run_ablation', monkeypatch, *flags, '2:', '--iterations', '0')
    assert "'0' is not a whole number above 0" in capsys.readouterr().err
    last = complaint('run_ablation', monkeypatch, *flags, '2:')
    assert last.startswith("toypass has no images of split 'val' in ") and 'tools --data;' in last
    assert not (tmp_path / 'table3').exists()
    flags = ('table3', '--data', tiny_toypass[0], '--out', tmp_path, '--rows', '2:', '--cfg-options')
    last = complaint('run_ablation', monkeypatch, *flags, 'model.teacher_assistant.init_cfg.checkpoint=nothing.pth')
    assert last.startswith('tools/test.py stopped with status 2: error: ') and 'nothing.pth' in last


def test_every_suspect_is_one_change_of_the_literal_loop():
    for row in collapse():
        if row.trained:
            config = Config.fromfile(row.config)
            config.merge_from_dict(row.changes)
            assert config.model.update_ta
            assert (config.model.label_momentum is None) == ('literal' in row.name)
    assert len(collapse()) == 3 * (len(suspects()) + 1)


def test_the_drift_of_labels_is_read_from_the_logs_of_all_parts_of_a_run(tmp_path):
    row = collapse()[1]
    job = Job(row, 0, tmp_path / 'row')
    assert drift(job) == {}
    assert not drift_plot([row], [job], tmp_path / 'drift.png')
    parts = {'1': [(50, 0.2, 1.0), (100, 0.1, 0.9)], '2': [(100, 0.1, 0.9), (150, 0.05, 0.8)]}  # stopped and resumed
    for part, lines in parts.items():
        log = job.folder / 'work' / part / 'vis_data/scalars.json'
        log.parent.mkdir(parents=True)
        text = [
            json.dumps({'label_share/road': 1 - rare, 'label_share/bicycle': rare, 'label_agreement': kept, 'step': at})
            for at, rare, kept in lines
        ]
        log.write_text('\n'.join([json.dumps({'loss': 1.0, 'step': 50}), *text]) + '\n')
    found = drift(job)
    assert found['label_agreement'] == [(50, 1.0), (100, 0.9), (150, 0.8)]
    assert found['label_share/bicycle'] == [(50, 0.2), (100, 0.1), (150, 0.05)]
    assert drift_plot([row], [job], tmp_path / 'drift.png', rare=1)
    with Image.open(tmp_path / 'drift.png') as picture:
        assert picture.width > 500
