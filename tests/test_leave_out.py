"""Pixels that are left out, such as a car's roof: how they are marked, and that no loss learns from them."""

import numpy as np
import pytest
import torch
from mmseg.registry import TRANSFORMS
from PIL import Image
from test_cached_masks import CLOSED, panorama_of
from test_goodsam import batch, build, optimizers

from stage2_distill.data.transforms import FlipPanorama, LeaveOut, PackPanorama, RollPanorama
from stage2_distill.errors import ConfigError


def loaded(height=8, width=16):
    image = np.random.default_rng(0).integers(0, 200, (height, width, 3), np.uint8)
    return {'img': image, 'img_path': 'a.png', 'ori_shape': (height, width), 'seg_fields': []}


def test_rows_are_pixels_or_a_share_of_the_height():
    literal = np.zeros((8, 16), bool)
    literal[:1] = literal[-2:] = True
    for rows in [(1, 2), (0.125, 0.25), (1, 0.25)]:
        assert np.array_equal(LeaveOut(rows).transform(loaded())['left_out'], literal)
    assert not LeaveOut().transform(loaded())['left_out'].any()


def test_a_mask_is_scaled_to_the_panorama_and_added_to_the_rows(tmp_path):
    roof = np.zeros((4, 8), np.uint8)
    roof[2:, 3:5] = 255
    Image.fromarray(roof).save(tmp_path / 'roof.png')
    step = TRANSFORMS.build({'type': 'LeaveOut', 'rows': (1, 0), 'mask': str(tmp_path / 'roof.png')})
    literal = np.zeros((8, 16), bool)
    literal[4:, 6:10] = literal[:1] = True
    assert np.array_equal(step.transform(loaded())['left_out'], literal)


def test_what_is_left_out_rolls_and_mirrors_with_the_panorama(tmp_path):
    height, width = CLOSED.height, CLOSED.width
    roof = np.zeros((height, width), np.uint8)
    roof[height // 2 :, 1:5] = 255
    Image.fromarray(roof).save(tmp_path / 'roof.png')
    seen = []
    for seed in range(8):
        results = loaded(height, width) | {'cached_masks': panorama_of(CLOSED), 'img_shape': (height, width)}
        results['img'][roof > 0] = 255  # nothing else is that bright
        np.random.seed(seed)  # noqa: NPY002 - the steps draw from the global generator
        steps = [LeaveOut(mask=str(tmp_path / 'roof.png')), RollPanorama(), FlipPanorama(), PackPanorama(meta_keys=())]
        for step in steps:
            results = step.transform(results)
        left_out = results['data_samples'].left_out
        assert torch.equal(left_out, (results['inputs'] == 255).all(0))
        seen.append(left_out)
    assert len({bytes(part.numpy()) for part in seen}) > 2


def test_what_cannot_be_left_out_is_said_in_one_line(tmp_path):
    with pytest.raises(ConfigError, match='give the rows'):
        LeaveOut((-1, 0))
    with pytest.raises(ConfigError, match=r'leaves nothing of a\.png'):
        LeaveOut((4, 4)).transform(loaded())
    with pytest.raises(ConfigError, match=r'LeaveOut mask: .*roof\.png') as caught:
        LeaveOut(mask=str(tmp_path / 'roof.png'))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('soft', [False, True])
@pytest.mark.parametrize('mode', ['ste', 'soft', 'bce', 'weighted_ce'])
def test_no_loss_learns_from_pixels_that_are_left_out(mode, soft):
    fusion = {'type': 'CTCF', 'output': 'soft' if soft else 'hard'}
    head = {'type': 'MKAHead', 'boundary_mode': mode, 'soft_target': soft, 'consistency': 0}
    model = build(ctcf_head={'type': 'CTCFHead', 'fusion': fusion}, mka_head=head).eval()
    data = model.data_preprocessor(batch(2), False)
    with torch.no_grad():
        logits = model.assistant_windows(data['inputs'])
    whole = model.make_lesson(data['inputs'], data['data_samples'], logits)
    left_out = torch.zeros(2, 32, 128, dtype=torch.bool)
    left_out[0, 20:] = left_out[1, 10:20, 50:70] = True
    lesson = whole.without(left_out)
    assert torch.equal(lesson.whole_labels == 255, left_out)
    assert not lesson.ensemble.weight[lesson.ensemble.labels == 255].any()

    # Boundary maps compare pixels with their neighbours, so that only those farther inside are free of gradient.
    inside = torch.nn.functional.avg_pool2d(left_out[:, None].float(), 5, 1, 2)[:, 0] == 1
    assert inside.any()
    student = torch.randn(2, 5, 32, 128, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assistant = logits.clone().requires_grad_()
    losses = model.mka_head.student_losses(student, lesson) | model.mka_head.assistant_losses(assistant, lesson)
    assert set(losses) == {'loss_ce_ta_s', 'loss_ce_t_s', 'loss_bd_t_s', 'loss_ce_t_ta', 'loss_bd_t_ta'}
    torch.stack([*losses.values()]).sum().backward()
    assert not student.grad.abs().sum(1)[inside].any()
    assert student.grad.abs().sum(1)[~left_out].all()
    for i, window in enumerate(lesson.grid.windows):
        columns = np.arange(window.left, window.left + window.width) % 128
        assert not assistant.grad[:, i].abs().sum(1)[inside[:, :, columns]].any()


@pytest.mark.parametrize('stored', [False, True])
def test_eq_4_is_the_mean_over_the_other_pixels(stored):
    model = build(mka_head={'type': 'MKAHead', 'ensemble_student': 0, 'boundary_student': 0}, update_ta=False)
    data = batch(1)
    left_out = torch.zeros(32, 128, dtype=torch.bool)
    left_out[24:] = True
    data['data_samples'][0].left_out = left_out
    model.train()
    inputs = model.data_preprocessor(batch(1), False)['inputs']
    with torch.no_grad():
        labels = torch.cat([model.assistant_windows(inputs)[:, i] for i in (0, 2, 4, 6)], -1).argmax(1)
        log_p = model.student_panorama(inputs).log_softmax(1)
        sample = data['data_samples'][0]
        if stored:  # as a frozen assistant's lessons are read in training
            logits = model.assistant_windows(inputs)
            sample.lesson = model.make_lesson(inputs, [sample], logits).stored()[0]
            del sample.cached_masks
    literal = -log_p.gather(1, labels[:, None])[0, 0][~left_out].mean()
    log = model.train_step(data, optimizers(model))
    assert float(log['loss_ce_ta_s']) == pytest.approx(float(literal), rel=1e-4)
