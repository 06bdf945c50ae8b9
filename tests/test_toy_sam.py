"""The toy SAM: its losses by hand, its training and resuming from the command line, and its masks in a cache."""

import json
import re

import numpy as np
import pytest
import torch
from conftest import TINY_WINDOWS
from segment_anything import SamAutomaticMaskGenerator
from test_source_training import complaint

from stage1_sam_cache import WeightsError, open_cache
from stage1_sam_cache.sam.toy_sam import SIZE, build_toy_sam
from stage1_sam_cache.sam.weights import PUBLISHED, find_weights, load_sam
from stage2_distill.data.sampler import Draw
from toypass.training.losses import compare, sam_losses
from toypass.training.model import ToySamTraining
from toypass.training.prompts import MASK_STRIDE, MIN_PIXELS
from toypass.training.segment_dataset import SegmentDataset


def test_it_is_a_sam_of_a_few_million_parameters():
    sam = build_toy_sam().eval()
    assert 1e6 < sum(weight.numel() for weight in sam.parameters()) < 5e6
    generator = SamAutomaticMaskGenerator(sam, points_per_side=2, pred_iou_thresh=-100.0, stability_score_thresh=0.0)
    picture = np.random.default_rng(0).integers(0, 256, (100, 128, 3), dtype=np.uint8)
    assert all(record['segmentation'].shape == (100, 128) for record in generator.generate(picture))


def test_the_losses_are_those_of_the_formulas():
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, generator=rng) * 3
    targets = (torch.rand(2, 2, 4, 5, generator=rng) * 5).round() / 5
    found = compare(logits, targets)
    for n in range(2):
        for k in range(3):
            for t in range(2):
                x, y = logits[n, k].flatten().tolist(), targets[n, t].flatten().tolist()
                p = [1 / (1 + np.exp(-value)) for value in x]
                pairs = list(zip(p, y, strict=True))
                focal = [-(b * (1 - a) ** 2 * np.log(a) + (1 - b) * a**2 * np.log(1 - a)) / 2 for a, b in pairs]
                dice = 1 - (2 * sum(a * b for a, b in pairs) + 1) / (sum(p) + sum(y) + 1)
                hard = [(a > 0.5, b >= 0.5) for a, b in pairs]
                iou = sum(a and b for a, b in hard) / max(sum(a or b for a, b in hard), 1)
                expected = (np.mean(focal), dice, iou)
                assert [value[n, k, t].item() for value in found] == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_a_scene_asks_for_what_lies_under_its_prompts(tiny_toypass):
    data, _ = tiny_toypass
    scenes = SegmentDataset(str(data))
    for seed in range(6):
        scene = scenes[Draw(seed % 2, seed)]
        height, width = scene.image.shape[1:]
        assert max(height, width) <= SIZE
        assert scene.targets.shape[2:] == (height // MASK_STRIDE, width // MASK_STRIDE)
        assert len(scene.points) + len(scene.boxes) == len(scene.targets)
        part, whole = scene.targets[:, 0].long(), scene.targets[:, 1].long()
        assert (part <= whole).all()  # a part lies in its whole
        column, row = (scene.points.long() // MASK_STRIDE).unbind(1)
        assert (part[torch.arange(len(scene.points)), row, column] > 0).all()
        for box, mask in zip(scene.boxes.tolist(), whole[len(scene.points) :], strict=True):
            rows, columns = np.nonzero(mask.numpy())
            tight = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) * MASK_STRIDE
            side = np.tile(tight[2:] - tight[:2], 2)
            assert (np.abs(tight - box) <= 0.1 * side + MASK_STRIDE).all()
    again, other = scenes[Draw(0, 7)], scenes[Draw(0, 8)]
    assert torch.equal(scenes[Draw(0, 7)].image, again.image)
    assert again.image.shape != other.image.shape or not torch.equal(again.image, other.image)


def test_when_testing_every_thing_is_asked_for_once(tiny_toypass):
    data, _ = tiny_toypass
    scenes = SegmentDataset(str(data), split='val', train=False)
    scene = scenes[0]
    assert torch.equal(scene.targets, scenes[0].targets)
    masks = scene.targets[:, 1]
    assert len(torch.unique(masks.flatten(1), dim=0)) == len(masks)
    assert (masks.long().flatten(1).sum(1) / 255 * MASK_STRIDE**2 >= MIN_PIXELS - 1).all()


def test_a_mask_is_taught_to_the_output_that_is_nearest():
    targets = torch.zeros(1, 2, 8, 8)
    targets[:, 0, :2, :2], targets[:, 1, :4, :4] = 1, 1
    masks = torch.full((1, 4, 8, 8), -3.0)
    masks[0, 1, :2, :3], masks[0, 3, :4, :5] = 3.0, 3.0
    masks.requires_grad_()
    loss = sam_losses(masks, torch.zeros(1, 4), targets, 1)
    (loss['loss_focal'] + loss['loss_dice']).backward()
    # Output 1 learns the part, output 3 the whole; the box's output 0 and output 2 learn nothing.
    assert masks.grad.abs().sum((0, 2, 3)).gt(0).tolist() == [False, True, False, True]


@pytest.mark.parametrize('flags', [('--overfit', '0'), ('--workers', '-1'), ('--seed', '-1'), ('--lr', 'nan')])
def test_values_that_train_nothing_are_refused(tmp_path, monkeypatch, flags):
    monkeypatch.chdir(tmp_path)
    assert complaint('train_toy_sam', monkeypatch, *flags) == '2'


def test_training_resumes_exactly_and_its_weights_make_a_cache(tiny_toypass, run_tool, tmp_path):
    data, _ = tiny_toypass
    flags = ('--data', data, '--iterations', '2', '--val-interval', '2', '--overfit', '2', '--checkpoint-interval', '1')
    whole = run_tool('train_toy_sam.py', *flags, '--work-dir', tmp_path / 'a')
    assert whole.returncode == 0, whole.stderr[-2000:]
    assert 'best_of_3: ' in whole.stdout + whole.stderr
    (tmp_path / 'b').mkdir()
    (tmp_path / 'a/iter_1.pth').rename(tmp_path / 'b/iter_1.pth')
    (tmp_path / 'b/last_checkpoint').write_text(str(tmp_path / 'b/iter_1.pth'))
    resumed = run_tool('train_toy_sam.py', *flags, '--work-dir', tmp_path / 'b', '--resume')
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    files = [tmp_path / name / 'toy_sam.pth' for name in 'ab']
    weights = [torch.load(file, weights_only=True) for file in files]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())

    wanted = ('--points-per-side', '2', '--pred-iou-thresh', '-100', '--stability-score-thresh', '0')
    files[1].replace(tmp_path / 'b/iter_2.pth')  # weights alone
    (tmp_path / 'b/last_checkpoint').write_text(str(tmp_path / 'b/iter_2.pth'))
    mistyped = run_tool('train_toy_sam.py', *flags, '--work-dir', tmp_path / 'c', '--resume')
    assert (mistyped.returncode, (tmp_path / 'c').exists()) == (2, False)
    assert 'there is nothing to resume' in mistyped.stderr
    refused = run_tool('train_toy_sam.py', *flags, '--work-dir', tmp_path / 'b', '--resume')
    assert refused.returncode == 2
    assert refused.stderr.endswith('b/iter_2.pth holds no optimizer, so training cannot go on from it\n')

    cached = run_tool(
        'cache_sam.py', '--dataset', 'toypass', '--split', 'val', '--data-root', data, *TINY_WINDOWS, '--limit', '1',
        '--sam', 'toy', '--checkpoint', files[0], *wanted, '--out', tmp_path / 'cache',
    )  # fmt: skip
    assert cached.returncode == 0, cached.stderr[-2000:]
    assert 'masks by toy_sam toy (not SAM) on ' in cached.stdout
    generator = open_cache(tmp_path / 'cache').fingerprint.settings['generator']
    assert (generator['name'], generator['model'], generator['points_per_side']) == ('toy_sam', 'toy', 2)
    assert json.dumps(generator)


def test_missing_data_is_one_line(run_tool, tmp_path):
    failed = run_tool('train_toy_sam.py', '--data', tmp_path, '--work-dir', tmp_path / 'work')
    assert failed.returncode == 2
    assert failed.stderr.strip().splitlines()[-1].endswith(f'no images; run tools/make_toypass.py --out {tmp_path}')


def test_compiled_and_plain_networks_have_the_same_weights():
    names = set(ToySamTraining(compiled=True).state_dict())
    assert names == set(ToySamTraining().state_dict())


def test_its_weights_come_with_the_project_and_are_checked(tmp_path):
    path = find_weights('toy', tmp_path)
    assert path.stat().st_size < 10_000_000
    assert load_sam('toy', path)[1] == PUBLISHED['toy'].sha256
    assert not any(tmp_path.iterdir())  # nothing was fetched
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / 'toy_sam.pth').write_bytes(damaged)
    with pytest.raises(WeightsError, match='a damaged or other file; restore it from the repository, or give --check'):
        load_sam('toy', tmp_path / 'toy_sam.pth')


@pytest.mark.long
def test_from_its_masks_to_a_student(tiny_toypass, tiny_goodsam, run_tool, tmp_path):
    data, _ = tiny_toypass
    few = ('--points-per-side', '2', '--overlap-source', 'window', *TINY_WINDOWS)
    for split in ('train', 'val'):
        images = ('--dataset', 'toypass', '--split', split, '--data-root', data)
        cached = run_tool('cache_sam.py', *images, '--sam', 'toy', *few, '--out', tmp_path / split)
        assert cached.returncode == 0, cached.stderr[-2000:]
        assert float(re.search(r'masks +([\d.]+) per window', cached.stdout)[1]) > 1
    options = ('--cfg-options', f'train_dataloader.dataset.cache={tmp_path / "train"}', 'train_cfg.max_iters=2')
    work = tmp_path / 'work'
    trained = run_tool('train.py', tiny_goodsam, '--work-dir', work, *options, 'train_cfg.val_interval=2')
    assert trained.returncode == 0, trained.stderr[-2000:]
    scored = run_tool('test.py', tiny_goodsam, work / 'iter_2.pth', '--cache', tmp_path / 'val', '--work-dir', work)
    assert scored.returncode == 0, scored.stderr[-2000:]
    assert re.search(r'^\| ensemble \| \d', scored.stdout, re.M)
