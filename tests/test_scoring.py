"""What a score is of: how many images, by how many processes, and what is said where nothing can be scored."""

import json
import multiprocessing
import re
import shutil

import numpy as np
import pytest
import torch
import torch.distributed
from conftest import ROOT
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from PIL import Image
from test_source_training import load_tool

from stage1_sam_cache.errors import GoodSAMError
from stage2_distill.data import datasets
from stage2_distill.errors import ConfigError
from stage2_distill.evaluation.input_sizes import refuse_small_inputs
from stage2_distill.evaluation.metrics import PerClassIoUMetric
from stage2_distill.evaluation.scored_config import set_mode
from stage2_distill.models.dry_run import InputSizeError

SOURCE = ROOT / 'mmseg_configs/source/segformer_b0_toypass.py'


def sample_of(label):
    label = torch.tensor([label])
    return {'pred_sem_seg': {'data': torch.zeros_like(label)}, 'gt_sem_seg': {'data': label}}


LABELS = ([[0, 0, 1, 1]], [[0, 1, 1, 1]], [[255, 255, 255, 255]], [[0, 0, 0, 0]], [[1, 1, 1, 1]])


def evaluate_in_process(rank, meeting, answers):
    """Score a process's share of five images; the sampler gives each of two processes three."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo', init_method=f'file://{meeting}', rank=rank, world_size=2)
    metric = PerClassIoUMetric(iou_metrics=['mIoU'])
    metric.dataset_meta = {'classes': ('road', 'car')}
    share = list(DefaultSampler(range(len(LABELS)), shuffle=False))
    for index in share:
        metric.process({}, [sample_of(LABELS[index])])
    answers.put((len(share), metric.evaluate(len(LABELS))))
    torch.distributed.destroy_process_group()


def test_processes_score_every_image_once(tmp_path):
    context = multiprocessing.get_context('fork')
    answers = context.Queue()
    processes = [
        context.Process(target=evaluate_in_process, args=(rank, tmp_path / 'meeting', answers)) for rank in range(2)
    ]
    for process in processes:
        process.start()
    found = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    # All is predicted as road: 7 of 16 pixels are. The first image, which fills up the second part, counts once.
    for share, scores in found:
        assert share == 3
        assert scores['images'] == 4
        assert scores['IoU.road'] == pytest.approx(100 * 7 / 16)


def test_a_class_that_is_nowhere_is_shown_and_not_counted(capsys):
    from stage2_distill.commands.score_report import absent_classes

    nan = float('nan')
    rows = [{'mode': mode, 'input_scale': 1, 'IoU.road': 3.0, 'IoU.train': nan} for mode in ('whole', 'tile')]
    assert absent_classes(rows) == {('train',): ['whole, input scale 1', 'tile, input scale 1']}
    metric = PerClassIoUMetric(iou_metrics=['mIoU'])
    metric.dataset_meta = {'classes': ('road', 'car', 'train')}
    metric.process({}, [sample_of(LABELS[0])])
    found = metric.compute_metrics(metric.results)
    assert (found['mIoU'], found['images']) == (25, 1)  # road 50, car 0
    assert np.isnan(found['IoU.train'])


@pytest.fixture
def own(tiny_toypass, tmp_path):
    """Two panoramas of tiny ToyPASS as a user's own, in ``im`` and ``lab``."""
    target = tiny_toypass[0] / 'target'
    for image in sorted((target / 'leftImg8bit/val').rglob('*.png'))[:2]:
        label = target / 'gtFine/val' / image.parent.name / f'{image.stem}_labelTrainIds.png'
        for source, goal in ((image, tmp_path / 'im' / image.name), (label, tmp_path / 'lab' / image.name)):
            goal.parent.mkdir(exist_ok=True)
            shutil.copy(source, goal)
    return tmp_path


def test_own_labels_are_scored_by_flags_and_by_config_alike(own, tiny_goodsam, run_tool):
    folders = {'images': own / 'im', 'labels': own / 'lab'}
    flags = [word for name, path in folders.items() for word in (f'--{name}', path)]
    options = [
        f'test_dataloader.dataset.{name}={path}' for name, path in {'name': None, 'split': None, **folders}.items()
    ]
    common = (tiny_goodsam, '--predictor', 'student', '--work-dir', own)
    workers = (
        'test_dataloader.num_workers=0',
        'test_dataloader.persistent_workers=True',
    )
    scores = []
    for number, words in enumerate((flags, []), start=1):
        out = own / f'{number}.json'
        finished = run_tool(
            'test.py', *common, *words, '--out', out, '--cfg-options', 'randomness.seed=1', *workers,
            *([] if words else options),
        )  # fmt: skip
        assert finished.returncode == 0, finished.stderr[-2000:]
        assert finished.stdout.splitlines()[-1] == '2 of 2 images scored'
        scores.append(json.loads(out.read_text()))
    assert scores[0] == scores[1]
    assert scores[0]['images'] == {'images': 2, 'scored': 2, 'left_out': [], 'labels_without_image': []}
    assert scores[0]['dataset'] == str(own / 'im')


def test_the_last_line_says_what_was_not_scored_and_a_score_of_nothing_is_an_error(
    own, tiny_goodsam, run_tool, tmp_path
):
    first, second = sorted((own / 'lab').iterdir())
    ignored = np.full((100, 512), 255, np.uint8)
    Image.fromarray(ignored).save(second)
    shutil.copy(next((own / 'im').iterdir()), own / 'im/more.png')
    common = (
        tiny_goodsam,
        '--predictor',
        'student',
        '--work-dir',
        own,
        '--images',
        own / 'im',
        '--labels',
        own / 'lab',
    )
    finished = run_tool('test.py', *common)
    assert finished.returncode == 0, finished.stderr[-2000:]
    last = finished.stdout.splitlines()[-1]
    assert last == '1 of 3 images scored; skipped: 1 (no label: more), 1 (the label ignores every pixel)'
    Image.fromarray(ignored).save(first)
    finished = run_tool('test.py', *common)
    assert finished.returncode == 2
    assert finished.stderr.splitlines()[-1].startswith('error: all 2 labels ignore every pixel')


def test_labels_of_a_catalogue_entry_that_ignore_everything_are_an_error_too(
    tiny_toypass, tiny_goodsam, run_tool, tmp_path
):
    shutil.copytree(tiny_toypass[0] / 'target', tmp_path / 'target')
    for label in (tmp_path / 'target/gtFine/val').rglob('*_labelTrainIds.png'):
        Image.fromarray(np.full((100, 512), 255, np.uint8)).save(label)
    flags = ('--dataset', 'toypass', '--data-root', tmp_path / 'target', '--limit', '2')
    finished = run_tool('test.py', tiny_goodsam, '--predictor', 'student', '--work-dir', tmp_path, *flags)
    assert finished.returncode == 2
    assert finished.stderr.splitlines()[-1].startswith('error: all 2 labels ignore every pixel')


def test_with_a_cache_the_data_set_is_listed_once(tiny_goodsam, tiny_caches, tmp_path, monkeypatch):
    from stage2_distill import components  # noqa: F401  registers
    from stage2_distill.evaluation.scoring import drop_training, use_cache
    from stage2_distill.training.experiment import build_runner, read_config

    listed = []
    list_dataset = datasets.list_dataset
    monkeypatch.setattr(datasets, 'list_dataset', lambda *args: listed.append(args[:2]) or list_dataset(*args))
    config = read_config(str(tiny_goodsam))
    config.work_dir = str(tmp_path)
    drop_training(config)
    use_cache(config, str(tiny_caches['val']))
    dataset = build_runner(config).test_dataloader.dataset
    assert dataset.mask_cache is not None
    assert listed == [('toypass', 'val')]


def test_inputs_that_a_network_cannot_take_are_one_line():
    init_default_scope('mmseg')
    config = Config.fromfile(SOURCE)
    network = MODELS.build(config.model).eval()
    refuse_small_inputs(network)
    assert network(torch.zeros(1, 3, 32, 64), mode='tensor').shape[1] == 19
    small = torch.zeros(1, 3, 16, 16)
    with pytest.raises(InputSizeError, match=r'^16x16 pixels are too few for this network, which needs at least'):
        network(small, mode='tensor')
    samples = [SegDataSample(metainfo={'img_path': 'street/7.png', 'ori_shape': (16, 16)})]
    with pytest.raises(InputSizeError, match=r'^street/7\.png: 16x16 pixels are too few for this network'):
        network(small, data_samples=samples, mode='predict')
    for window, stride, message in (
        ((0, 9), None, 'are empty'),
        ((9, 9), (0, 0), 'are empty'),
        ((9, 9), (9, 10), 'gaps'),
    ):
        with pytest.raises(ConfigError, match=message):
            set_mode(config, 'slide', 1.0, window, stride)


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (('--images', 'a'), '--images and --labels go together'),
        (('--labels', 'a'), '--images and --labels go together'),
        (('--images', 'a', '--labels', 'b', '--dataset', 'toypass'), 'not allowed with argument'),
        (('--label-ids', 'cityscapes34'), '--label-ids goes with --labels'),
        (('--limit', '0'), '--limit has to be at least 1'),
        (('--mode', 'whole', '--window', '9x9'), '--window goes with --mode slide or tile'),
        (('--mode', 'tile', '--stride', '9x9'), '--stride goes with --mode slide'),
        (('--window', '99x99'), '--window and --stride go with --mode slide or tile'),
    ],
)
def test_flags_that_would_do_nothing_are_refused(flags, message, capsys):
    with pytest.raises(SystemExit, match='2'):
        load_tool('test').main([str(SOURCE), 'none.pth', *flags])
    assert re.search(message, capsys.readouterr().err)


def test_a_folder_for_pictures_that_cannot_be_made_is_refused_before_anything_is_scored(tmp_path):
    file = tmp_path / 'pictures'
    file.touch()
    words = ['goodsam_b0_toypass.py', str(tmp_path / 'none.pth'), '--work-dir', str(tmp_path / 'work')]
    with pytest.raises(GoodSAMError, match=rf'^cannot make the folder {file}: .*; give another --show-dir$'):
        load_tool('test').main([*words, '--show-dir', str(file)])
