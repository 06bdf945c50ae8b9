"""Training on the labelled source and scoring: configs, data set, metric, checkpoints, and the two command lines."""

import importlib
import json
import pickle
import re
import shutil

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader
from mmseg.registry import MODELS
from PIL import Image

from stage1_sam_cache.data.label_spaces import LABEL_SPACES, convert_labels
from stage1_sam_cache.errors import DatasetError, GoodSAMError
from stage2_distill import components  # noqa: F401
from stage2_distill.checkpoints.fit import check_fit
from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint, use_safe_loaders
from stage2_distill.data import datasets
from stage2_distill.data.datasets import CatalogueDataset
from stage2_distill.errors import CheckpointError, ConfigError
from stage2_distill.evaluation.metrics import PerClassIoUMetric
from stage2_distill.evaluation.scored_config import scale_input, set_mode
from stage2_distill.evaluation.scoring import use_dataset
from stage2_distill.training.bfloat16 import BFloat16OptimWrapper
from stage2_distill.training.experiment import build_runner, read_config

SOURCE = ROOT / 'mmseg_configs/source'
B0 = SOURCE / 'segformer_b0_toypass.py'
WEIGHTS = 'goodsam://segformer_b0.safetensors'


def load_tool(name):
    """The module with a tool's code, which its script names."""
    (module,) = re.findall(r"^    run\('(.+)'\)$", (ROOT / f'tools/{name}.py').read_text(), re.M)
    return importlib.import_module(module)


# --- configs ---

MILLIONS = {0: 3.7, 1: 13.7, 2: 24.7, 3: 44.6, 4: 61.4, 5: 82.0}  # SegFormer with a 19-class head


@pytest.mark.parametrize('domain', ['cityscapes', 'toypass'])
@pytest.mark.parametrize('size', MILLIONS)
def test_every_source_config_builds_a_segformer_of_the_right_size(domain, size):
    config = Config.fromfile(SOURCE / f'segformer_b{size}_{domain}.py')
    init_default_scope(config.default_scope)
    model = MODELS.build(config.model)
    millions = sum(weight.numel() for weight in model.parameters()) / 1e6
    assert millions == pytest.approx(MILLIONS[size], abs=0.06)
    assert model.decode_head.num_classes == 19
    start = config.model.backbone.get('init_cfg')
    assert (start is None) == (domain == 'toypass')  # from scratch: nothing to download
    assert start is None or f'/mit_b{size}_' in start.checkpoint


def test_the_configs_name_no_path_but_data():
    for path in SOURCE.glob('*.py'):
        text = Config.fromfile(path).pretty_text
        assert not re.search(r"'(/|\.\./|~)", text)
        assert set(re.findall(r"name='(\w+)', pipeline|name='(\w+)',\n", text)) or 'CatalogueDataset' in text


def test_class_weights_leave_the_mean_over_all_pixels_as_it_was():
    # Shares in % that tools/make_toypass.py --preset demo --seed 0 prints for the source's training images.
    shares = [34.127, 3.836, 25.107, 0.641, 0.439, 1.390, 0.613, 0.566, 9.432, 1.420]
    shares += [13.660, 0.669, 0.580, 3.797, 0.936, 0.913, 0.520, 0.548, 0.751]
    weights = Config.fromfile(B0).model.decode_head.loss_decode.class_weight
    expected = 1 / np.sqrt(shares)
    expected /= np.average(expected, weights=shares)
    np.testing.assert_allclose(weights, expected, atol=0.006)


# --- data set and metric ---


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def loaded(dataset):
    init_default_scope('mmseg')
    return [item['data_samples'].gt_sem_seg.data.squeeze().tolist() for item in dataset]


PIPELINE = [{'type': 'LoadPanorama'}, {'type': 'LoadLabel'}, {'type': 'PackPanorama'}]


def test_labels_of_the_catalogue_reach_mmseg_in_their_label_space(tmp_path):
    init_default_scope('mmseg')
    write(tmp_path / 'leftImg8bit/val/cs/7.png', np.zeros((2, 3, 3)))
    write(tmp_path / 'gtFine/val/cs/7.png', [[4, 11, 13], [24, 0, 255]])  # WildPASS: car road curb, crosswalk nothing
    dataset = CatalogueDataset('wildpass', 'val', str(tmp_path), label_space='wildpass8', pipeline=PIPELINE)
    assert loaded(dataset) == [[[0, 3, 5], [7, 255, 255]]]
    assert dataset.metainfo['classes'][:4] == ('car', 'truck', 'bus', 'road')
    merged = CatalogueDataset('wildpass', 'val', str(tmp_path), label_space='wildpass6_merged', pipeline=PIPELINE)
    assert loaded(merged) == [[[0, 3, 4], [3, 255, 255]]]


def test_the_truth_of_training_panoramas_is_used_only_when_it_is_named(tiny_toypass):
    init_default_scope('mmseg')
    out, _ = tiny_toypass
    with pytest.raises(ConfigError, match='has no label; toypass train cannot be used'):
        CatalogueDataset('toypass', 'train', str(out))
    oracle = CatalogueDataset('toypass', 'train', str(out), labels=str(out / 'truth/target/train'), pipeline=PIPELINE)
    assert len(oracle) == 4
    with Image.open(out / 'truth/target/train/Elmira/1_labelTrainIds.png') as label:
        assert loaded(oracle)[0] == np.asarray(label).tolist()
    assert len(CatalogueDataset('toypass', 'val_source_look', str(out))) == 4


def test_what_the_data_set_refuses(tmp_path):
    init_default_scope('mmseg')
    with pytest.raises(ConfigError, match="data set 'nothing'; known: densepass"):
        CatalogueDataset('nothing', 'val')
    write(tmp_path / 'pictures/leftImg8bit/val/cs/1.png', np.zeros((2, 3, 3)))
    with pytest.raises(DatasetError, match='cannot be read as stanford13'):
        CatalogueDataset('densepass', 'val', str(tmp_path / 'pictures'), label_space='stanford13')
    with pytest.raises(DatasetError, match=r'make_toypass\.py'):
        CatalogueDataset('toypass', 'val', str(tmp_path))


def test_scores_of_every_class_by_hand():
    metric = PerClassIoUMetric(iou_metrics=['mIoU'])
    metric.dataset_meta = {'classes': ('road', 'car', 'bus')}
    for predicted, label in (([[0, 0, 1]], [[0, 1, 1]]), ([[1, 1, 1]], [[1, 0, 255]])):
        sample = {'pred_sem_seg': {'data': torch.tensor([predicted])}, 'gt_sem_seg': {'data': torch.tensor([label])}}
        metric.process({}, [sample])
    found = metric.compute_metrics(metric.results)
    # road: 1 of 3 pixels in the union; car: 2 of 4; bus: nowhere
    assert found['IoU.road'] == pytest.approx(100 / 3)
    assert found['IoU.car'] == pytest.approx(50)
    assert np.isnan(found['IoU.bus'])
    assert found['mIoU'] == pytest.approx((100 / 3 + 50) / 2, abs=0.01)


def test_predictions_are_scored_in_the_data_sets_own_classes():
    metric = PerClassIoUMetric(iou_metrics=['mIoU'], model_space='cityscapes19', predictor='ta_tile')
    metric.dataset_meta = {'classes': LABEL_SPACES['wildpass6'].classes}  # car truck bus road sidewalk person
    # Cityscapes: road 0, sidewalk 1, building 2, person 11, car 13
    predicted, label = [[13, 0, 2, 1, 11, 2]], [[0, 3, 0, 4, 5, 255]]
    sample = {'ta_tile': {'data': torch.tensor([predicted])}, 'gt_sem_seg': {'data': torch.tensor([label])}}
    metric.process({}, [sample, {'gt_sem_seg': sample['gt_sem_seg']}])  # the second was not predicted
    found = metric.compute_metrics(metric.results)
    assert len(metric.results) == 1
    assert metric.prefix == 'ta_tile'
    assert found['IoU.car'] == 50  # one of two cars is a building to the model
    assert (found['IoU.road'], found['IoU.sidewalk'], found['IoU.person']) == (100, 100, 100)
    assert np.isnan(found['IoU.truck'])
    metric.dataset_meta = {'classes': ('cat', 'dog')}
    with pytest.raises(ConfigError, match='predictions of cityscapes19 cannot be scored as cat, dog'):
        metric.process({}, [sample])


def test_stanfords_instances_are_scored_in_13_and_in_8_classes(tmp_path):
    init_default_scope('mmseg')
    base = tmp_path / 'area_5a/pano'
    write(base / 'rgb/x_rgb.png', [[[9, 9, 9], [9, 9, 9], [9, 9, 9], [0, 0, 0]]])  # the last was not seen
    write(base / 'semantic/x_semantic.png', [[[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1]]])
    names = ['clutter_1_hall_1_area_5a', 'chair_2_hall_1_area_5a', *['<UNK>'] * 254, 'sofa_1_hall_1_area_5a']
    (tmp_path / 'semantic_labels.json').write_text(json.dumps(names))
    for space, expected in (('stanford13', [[5, 4, 9, 255]]), ('stanford8', [[255, 1, 4, 255]])):
        dataset = CatalogueDataset('stanford2d3d', 'val', str(tmp_path), label_space=space, pipeline=PIPELINE)
        assert loaded(dataset) == expected
    assert dataset.metainfo['classes'] == LABEL_SPACES['stanford8'].classes


@pytest.mark.parametrize('space', ['cityscapes13', 'wildpass8', 'wildpass6'])
def test_training_and_scoring_read_labels_by_one_reader(tmp_path, space):
    init_default_scope('mmseg')
    ids = np.arange(20).reshape(2, 10) % 19
    write(tmp_path / 'leftImg8bit/val/cs/7.png', np.zeros((2, 10, 3)))
    write(tmp_path / 'gtFine/val/cs/7_labelTrainIds.png', ids)
    dataset = CatalogueDataset('densepass', 'val', str(tmp_path), label_space=space, pipeline=PIPELINE)
    assert loaded(dataset) == [convert_labels(ids, 'cityscapes19', space).tolist()]
    for file in (ROOT / 'mmseg_configs/source').glob('*.py'):
        config = Config.fromfile(file)
        for loader in ('train', 'val', 'test'):
            steps = {step['type'] for step in config[f'{loader}_dataloader'].dataset.pipeline}
            assert steps >= {'LoadPanorama', 'LoadLabel', 'PackPanorama'}


# --- mixed precision ---


def test_bfloat16_forward_float32_weights():
    model = torch.nn.Linear(4, 2)
    wrapper = BFloat16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    with wrapper.optim_context(model):
        out = model(torch.ones(3, 4))
    assert out.dtype == torch.bfloat16
    before = model.weight.detach().clone()
    wrapper.update_params(out.float().square().mean())
    assert model.weight.dtype == torch.float32
    assert not torch.equal(before, model.weight)


# --- checkpoints ---


class Hostile:
    """Unpickling it writes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, 'w')


@pytest.fixture
def hostile(tmp_path):
    """A checkpoint that runs code, and the file that it would make."""
    mark, path = tmp_path / 'code_has_run', tmp_path / 'hostile.pth'
    torch.save({'state_dict': {}, 'meta': {}, 'optimizer': {}, 'x': Hostile(mark)}, path)
    return path, mark


@pytest.fixture(autouse=True)
def _switch_back(monkeypatch):
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')


def test_code_in_a_checkpoint_is_refused_unless_it_is_trusted(hostile):
    path, mark = hostile
    use_safe_loaders()
    with pytest.raises(CheckpointError, match=r'more than weights .*--trust-checkpoint'):
        check_checkpoint(str(path))
    assert not mark.exists()
    use_safe_loaders(trusted=True)
    check_checkpoint(str(path), trusted=True)
    assert mark.exists()  # so the file would have run code, and the refusal above means something


def test_getattr_reaches_nothing_but_the_log_history(tmp_path):
    """MMEngine's checkpoints need ``getattr``; with it free, a file could walk to any function."""

    class Walk:
        def __reduce__(self):
            return getattr, (HistoryBuffer, '__init__')

    class Method:
        def __reduce__(self):
            return getattr, (HistoryBuffer, 'mean')

    torch.save({'walk': Walk()}, tmp_path / 'walk.pth')
    with pytest.raises(CheckpointError, match='getattr'):
        check_checkpoint(str(tmp_path / 'walk.pth'))
    torch.save({'method': Method(), 'count': np.float32(2)}, tmp_path / 'method.pth')
    assert check_checkpoint(str(tmp_path / 'method.pth')) == {'method': HistoryBuffer.mean, 'count': 2}


@pytest.mark.parametrize('damage', ['missing', 'a folder', 'empty', 'truncated', 'text', 'legacy pickle', 'a list'])
def test_what_is_no_checkpoint_is_said_in_one_line(tmp_path, damage):
    use_safe_loaders()
    path = tmp_path / 'x.pth'
    if damage == 'a folder':
        path.mkdir()
    elif damage not in ('missing', 'a list'):
        torch.save({'state_dict': {'weight': torch.ones(1000)}}, path)
        whole = path.read_bytes()
        content = {'empty': b'', 'truncated': whole[: len(whole) // 2], 'text': b'hello world'}
        path.write_bytes(content.get(damage, pickle.dumps({'state_dict': Hostile(tmp_path / 'ran')})))
    elif damage == 'a list':
        torch.save([1, 2], path)
    with pytest.raises(CheckpointError) as caught:
        check_checkpoint(str(path))
    assert str(path) in str(caught.value)
    assert '\n' not in str(caught.value)
    assert ('give a file in it' in str(caught.value)) == (damage == 'a folder')
    assert not (tmp_path / 'ran').exists()


# --- the command lines ---


def small(out):
    """Options that make the toy config a matter of seconds."""
    return (
        '--cfg-options', f'train_dataloader.dataset.root={out}', f'val_dataloader.dataset.root={out}',
        f'test_dataloader.dataset.root={out}', 'train_dataloader.dataset.pipeline.2.scale=(128,64)',
        'train_dataloader.dataset.pipeline.3.crop_size=(32,64)', 'model.data_preprocessor.size=(32,64)',
        'train_dataloader.batch_size=2', 'train_dataloader.num_workers=0', 'val_dataloader.num_workers=0',
        'test_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False',
        'val_dataloader.persistent_workers=False', 'test_dataloader.persistent_workers=False',
        'default_hooks.logger.interval=1', 'train_cfg.val_interval=2', 'default_hooks.checkpoint.interval=2',
    )  # fmt: skip


@pytest.fixture(scope='module')
def trained(tiny_toypass, run_tool, tmp_path_factory):
    """Two iterations, then two more by the same command; the folder and what was printed."""
    out, _ = tiny_toypass
    work = tmp_path_factory.mktemp('train') / 'work'
    flags = ['--amp', '--seed', '3', '--work-dir', work, '--resume-or-start', '--load-from', WEIGHTS]
    texts = []
    for iterations in (2, 4):
        finished = run_tool('train.py', B0, *flags, *small(out), f'train_cfg.max_iters={iterations}')
        assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-3000:]
        texts.append(finished.stdout + finished.stderr)
    return work, texts


def test_training_logs_validates_keeps_the_best_and_resumes(trained):
    work, (first, second) = trained
    assert 'Iter(train) [1/2]' in first
    assert [f'Load checkpoint from {WEIGHTS}' in text for text in (first, second)] == [True, False]
    assert 'decode.loss_ce' in first
    assert 'IoU.bicycle' in first
    assert 'Iter(train) [3/4]' in second
    assert 'Iter(train) [2/4]' not in second  # it went on after the second
    assert (work / 'iter_4.pth').is_file()
    assert list(work.glob('best_mIoU_iter_*.pth'))
    losses = [float(loss) for loss in re.findall(r' loss: ([0-9.]+)', first + second)]
    assert len(losses) == 4
    assert np.isfinite(losses).all()
    use_safe_loaders()
    saved = check_checkpoint(str(work / 'iter_4.pth'))
    assert all(weight.dtype != torch.bfloat16 for weight in saved['state_dict'].values())


@pytest.mark.parametrize(
    ('config', 'changes', 'message'),
    [
        (B0.with_name('segformer_b1_toypass.py'), ['--seed', '3'], 'does not fit the model: '),
        (B0, ['--seed', '5'], 'was trained with seed 3, this run has 5; add --seed 3'),
        (B0, ['--seed', '3', 'optim_wrapper.paramwise_cfg=None'], 'cannot be continued with this config (ValueError: '),
    ],
)
def test_a_checkpoint_of_another_run_is_not_resumed(
    trained, tiny_toypass, run_tool, tmp_path, config, changes, message
):
    flags, options = changes[:2], [*small(tiny_toypass[0]), 'train_cfg.max_iters=6', *changes[2:]]
    work = tmp_path / 'work'
    shutil.copytree(trained[0], work)
    refused = run_tool('train.py', config, '--work-dir', work, '--resume', *flags, *options)
    assert refused.returncode == 2, refused.stderr[-2000:]
    line = refused.stderr.strip().splitlines()[-1]
    assert line.startswith('error: ')
    assert f'{work / "iter_4.pth"} {message}' in line
    assert not (work / 'iter_6.pth').exists()


def test_every_data_set_is_listed_once_before_the_first_step(tiny_toypass, tmp_path, monkeypatch):
    out, _ = tiny_toypass
    listed = []
    list_dataset = datasets.list_dataset
    monkeypatch.setattr(datasets, 'list_dataset', lambda *args: listed.append(args[:2]) or list_dataset(*args))
    config = read_config(str(B0))
    for loader in ('train', 'val', 'test'):
        config[f'{loader}_dataloader'].dataset.root = str(out)
        config[f'{loader}_dataloader'].update(num_workers=0, persistent_workers=False)
    config.work_dir = str(tmp_path)
    runner = build_runner(config)
    assert len(runner.train_dataloader.dataset) > 0
    assert len(runner.val_dataloader.dataset) > 0
    assert sorted(listed) == [('toypass_source', 'train'), ('toypass_source', 'val')]


def test_weights_of_the_package_are_named_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    init_default_scope('mmseg')
    model = MODELS.build(Config.fromfile(B0).model)
    check_fit(model, WEIGHTS)
    saved = check_checkpoint(WEIGHTS)['state_dict']
    model.init_cfg = {'type': 'Pretrained', 'checkpoint': WEIGHTS}
    model.init_weights()
    assert torch.equal(model.decode_head.conv_seg.weight, saved['decode_head.conv_seg.weight'].float())
    for wrong in ('goodsam://none.safetensors', 'goodsam://../weights/segformer_b0.safetensors'):
        for load in (check_checkpoint, lambda path: check_fit(model, path), CheckpointLoader.load_checkpoint):
            with pytest.raises(
                CheckpointError, match=r'^checkpoint goodsam://\S+ does not exist; .*segformer_b0'
            ) as told:
                load(wrong)
            assert '\n' not in str(told.value)


def test_scores_whole_in_windows_and_by_scale(trained, tiny_toypass, run_tool, tmp_path):
    work, _ = trained
    out, _ = tiny_toypass
    scored = run_tool(
        'test.py', B0, work / 'iter_4.pth', '--dataset', 'toypass', '--split', 'val_source_look', '--data-root', out,
        '--limit', '1', '--mode', 'whole', 'slide', 'tile', '--input-scale', '1', '1.5', '--work-dir', tmp_path,
        *small(out),
    )  # fmt: skip
    assert scored.returncode == 0, scored.stdout[-3000:] + scored.stderr[-3000:]
    assert '| mode | input scale 1 | input scale 1.5 |' in scored.stdout
    found = json.loads((tmp_path / 'scores.json').read_text())
    assert (found['dataset'], found['split']) == ('toypass', 'val_source_look')
    assert [(row['mode'], row['input_scale']) for row in found['scores']] == [
        (mode, scale) for mode in ('whole', 'slide', 'tile') for scale in (1.0, 1.5)
    ]
    assert all(0 <= row['mIoU'] <= 100 and 'IoU.train' in row for row in found['scores'])


@pytest.mark.parametrize('wrong', ['other names', 'no weights', 'other model'])
def test_a_checkpoint_that_does_not_fit_is_refused_and_not_scored(tmp_path, wrong):
    init_default_scope('mmseg')
    model = MODELS.build(Config.fromfile(B0).model)
    weights = {
        'other names': {f'encoder.{name}': weight for name, weight in model.state_dict().items()},
        'no weights': {},
        'other model': {name: weight.new_zeros(weight.numel() + 1) for name, weight in model.state_dict().items()},
    }
    torch.save({'state_dict': weights[wrong]}, tmp_path / 'wrong.pth')
    count = len(model.state_dict())
    # PyTorch begins the counts of batches anew where a file lacks them.
    optional = 0 if wrong == 'other model' else sum('num_batches_tracked' in name for name in model.state_dict())
    missing = count - optional
    with pytest.raises(CheckpointError, match=f'does not fit the model: {missing} of {count}'):
        check_fit(model, str(tmp_path / 'wrong.pth'))
    for good in (model.state_dict(), {f'module.{name}': weight for name, weight in model.state_dict().items()}):
        torch.save({'state_dict': good}, tmp_path / 'good.pth')
        check_fit(model, str(tmp_path / 'good.pth'))


def test_windows_are_those_of_the_paper_and_grow_with_the_input(tmp_path):
    write(tmp_path / 'leftImg8bit/val/cs/1.png', np.zeros((400, 2048, 3)))
    config = Config.fromfile(B0)
    use_dataset(config, 'toypass', 'val', str(tmp_path), None)
    set_mode(config, 'slide', 1.0, None, None)
    assert config.model.test_cfg == {'mode': 'slide', 'crop_size': (400, 512), 'stride': (400, 256)}
    set_mode(config, 'tile', 2.0, None, None)
    assert config.model.test_cfg == {'mode': 'slide', 'crop_size': (800, 1024), 'stride': (800, 1024)}
    set_mode(config, 'slide', 1.5, (400, 1024), (400, 128))
    assert config.model.test_cfg == {'mode': 'slide', 'crop_size': (600, 1536), 'stride': (600, 192)}
    set_mode(config, 'whole', 1.5, None, None)
    assert config.model.test_cfg == {'mode': 'whole'}
    scale_input(config, 2.0)
    steps = [step['type'] for step in config.test_dataloader.dataset.pipeline]
    assert steps == ['LoadPanorama', 'Resize', 'LoadLabel', 'PackPanorama']


def complaint(tool, monkeypatch, *arguments):
    """What the tool's ``main`` raises; tools print it as one line and exit with 2."""
    monkeypatch.setattr('sys.argv', [tool, *map(str, arguments)])
    with pytest.raises((GoodSAMError, SystemExit)) as caught:
        load_tool(tool).main()
    return str(caught.value)


def test_mistakes_are_told_and_no_code_is_run(hostile, tmp_path, monkeypatch, capsys):
    path, mark = hostile
    monkeypatch.chdir(tmp_path)
    assert 'config none.py does not exist' in complaint('train', monkeypatch, 'none.py')
    (tmp_path / 'bad.py').write_text('model = dict(\n')
    assert 'bad.py cannot be used: SyntaxError' in complaint('train', monkeypatch, 'bad.py')
    (tmp_path / 'odd.py').write_text(f"_base_ = '{B0}'\noptim_wrapper = dict(type='Odd')\n")
    assert '--amp goes with OptimWrapper' in complaint('train', monkeypatch, 'odd.py', '--amp')
    complaint('train', monkeypatch, B0, '--seed', '-1')
    assert "error: argument --seed: '-1' is not a whole number from 0 to 2**32 - 1" in capsys.readouterr().err
    (tmp_path / 'text.pth').write_text('these are no weights')
    assert complaint('train', monkeypatch, B0, '--load-from', 'text.pth').endswith(
        'text.pth is damaged or no checkpoint (it is not what PyTorch writes); give a file that training has written'
    )
    data = complaint('train', monkeypatch, B0)
    assert 'tools/make_toypass.py --out data/ToyPASS --preset demo' in data
    assert 'none.pth does not exist' in complaint('train', monkeypatch, B0, '--load-from', 'none.pth')
    assert 'more than weights' in complaint('train', monkeypatch, B0, '--load-from', path)
    (tmp_path / 'work').mkdir()
    shutil.copy(path, tmp_path / 'work/iter_1.pth')
    assert 'more than weights' in complaint('train', monkeypatch, B0, '--resume', '--work-dir', 'work')
    torch.save({'state_dict': {}}, tmp_path / 'work/iter_2.pth')
    (tmp_path / 'work/last_checkpoint').unlink()
    assert 'holds no optimizer' in complaint('train', monkeypatch, B0, '--resume', '--work-dir', 'work')
    assert 'more than weights' in complaint('test', monkeypatch, B0, path)
    for flags, expected in (
        (('--split', 'val'), '--split and --data-root go with --dataset'),
        (('--input-scale', '0'), '--input-scale must be above 0'),
        (('--input-scale', 'nan'), '--input-scale must be above 0'),
        (('--input-scale', '0.001'), '--input-scale must be above 0'),
        (('--cache', 'x'), '--cache, --predictor and --wrap are for GoodSAM configs'),
        (('--window', '12'), "'12' is not ROWSxCOLUMNS"),
    ):
        assert complaint('test', monkeypatch, B0, path, *flags) == '2'
        assert expected in capsys.readouterr().err
    # As from variables that are not set, and not the default or nothing.
    for tool, flags in (('train', ['--load-from', '']), ('train', ['--work-dir', '']), ('test', [''])):
        assert complaint(tool, monkeypatch, B0, *flags) == '2'
        assert 'it is empty' in capsys.readouterr().err
    assert not mark.exists()


def test_a_mistake_is_one_line_and_status_2(run_tool, hostile, tmp_path):
    path, mark = hostile
    for tool, flags in (('train.py', ('--load-from', path)), ('test.py', (path,))):
        finished = run_tool(tool, B0, *flags, cwd=tmp_path)
        assert finished.returncode == 2, finished.stderr
        assert 'Traceback' not in finished.stderr + finished.stdout
        lines = finished.stderr.strip().splitlines()
        assert lines[-1].startswith('error: checkpoint ')
        assert '--trust-checkpoint' in lines[-1]
    assert not mark.exists()


@pytest.mark.parametrize('fast', [True, False])
def test_mixed_precision_on_a_cpu_without_instructions_for_it_is_warned_of(monkeypatch, capsys, tmp_path, fast):
    from stage2_distill.commands import train

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr('stage2_distill.training.bfloat16.bfloat16_is_fast', lambda: fast)
    flags = [str(ROOT / 'mmseg_configs/goodsam_b0.py'), '--amp', '--work-dir', str(tmp_path)]
    config = train.changed_config(train.build_parser().parse_args(flags))
    assert config.optim_wrapper.student.type == 'BFloat16OptimWrapper'
    warned = [line for line in capsys.readouterr().err.splitlines() if 'bfloat16' in line]
    assert len(warned) == (0 if fast else 1)
