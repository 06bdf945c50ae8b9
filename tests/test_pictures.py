"""Pictures of predictions: one file per image and folder, whatever the number of processes."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer
from PIL import Image

from stage2_distill.evaluation import pictures
from stage2_distill.evaluation.pictures import PictureHook

NAMES = ('a/1', 'b/1', 'b/2')  # an odd number: two processes fill up with the first


def sample(folder, index):
    data = SegDataSample(metainfo={'img_path': str(folder / f'{NAMES[index]}.png'), 'image_id': NAMES[index]})
    for key, label in (('gt_sem_seg', 0), ('pred_sem_seg', index % 2)):
        setattr(data, key, PixelData(data=torch.full((1, 8, 16), label)))
    data.seg_logits = PixelData(data=torch.zeros(2, 8, 16))
    return data


@pytest.fixture
def images(tmp_path):
    for index, name in enumerate(NAMES):
        path = tmp_path / f'{name}.png'
        path.parent.mkdir(exist_ok=True)
        Image.new('RGB', (16, 8), (50 * index, 90, 9)).save(path)
    return tmp_path


def runner_of(folder):
    visualizer = SegLocalVisualizer.get_instance(str(folder), alpha=0.5)
    visualizer.dataset_meta = {'classes': ('x', 'y'), 'palette': [[255, 0, 0], [0, 0, 255]]}
    loader = SimpleNamespace(batch_size=1, dataset=NAMES)
    return SimpleNamespace(
        visualizer=visualizer, test_dataloader=loader, val_dataloader=loader, log_dir=str(folder / 'log'), iter=7
    )


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*.png')}


def test_two_processes_draw_what_one_does_and_names_keep_their_folders(images, monkeypatch):
    alone, both = images / 'alone', images / 'both'
    runner = runner_of(images)
    hook = PictureHook(folder=str(alone), draw=True)
    for step in range(3):
        hook.after_test_iter(runner, step, None, [sample(images, step)])
    assert set(files(alone)) == {f'{name}.png' for name in NAMES}
    assert len(set(files(alone).values())) == 3

    hook = PictureHook(folder=str(both), draw=True)
    sent = []

    def gather(own):
        assert all('seg_logits' not in each for _, each in own)  # they are large
        sent.append(own)
        return sent[-2:]

    monkeypatch.setattr(pictures, 'all_gather_object', gather)
    for step in range(2):
        for rank in (1, 0):  # the first process draws, when the other's are there
            monkeypatch.setattr(pictures, 'get_dist_info', lambda rank=rank: (rank, 2))
            monkeypatch.setattr(pictures, 'is_main_process', lambda rank=rank: rank == 0)
            hook.after_test_iter(runner, step, None, [sample(images, (2 * step + rank) % 3)])
    assert files(both) == files(alone)


def test_validation_draws_every_nth_image_and_nothing_unless_it_is_asked_to(images):
    runner = runner_of(images)
    for draw in (False, True):
        hook = PictureHook(draw=draw, interval=2)
        for step in range(3):
            hook.after_val_iter(runner, step, None, [sample(images, step)])
        assert set(files(images / 'log')) == (
            {f'pictures/val_7/{name}.png' for name in ('a/1', 'b/2')} if draw else set()
        )
