"""The ensemble labels as a data set: MMSegmentation opens it, and its pixels are those that training sees."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, MODELS
from PIL import Image

from stage2_distill.commands import export_labels
from stage2_distill.commands.label_panels import build_dataset, build_model, colour, draw
from stage2_distill.errors import ConfigError
from stage2_distill.exchange.ensemble_labels import ensemble_labels
from stage2_distill.exchange.layouts import Entry
from stage2_distill.exchange.training_set import TrainingSet, refuse_others
from stage2_distill.models.goodsam import GoodSAM
from stage2_distill.training.experiment import read_config

ABOUT = {'labels': 'a' * 16, 'classes': ['road', 'car'], 'palette': [[1, 2, 3], [4, 5, 6]]}


@pytest.fixture(scope='module')
def checkpoint(tiny_goodsam, tmp_path_factory) -> tuple[GoodSAM, Path]:
    """A model, whose averaged assistant differs from the one that is trained, and its checkpoint."""
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(read_config(str(tiny_goodsam)).model).eval()
    with torch.no_grad():
        for weight in model.label_assistant.parameters():
            weight.mul_(1.5)
    path = tmp_path_factory.mktemp('weights') / 'iter_4.pth'
    torch.save({'state_dict': model.state_dict()}, path)
    return model, path


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == 'L'
        return np.asarray(image)


@pytest.fixture
def few(tiny_goodsam, tmp_path) -> Path:
    """A config with two panoramas."""
    path = tmp_path / 'configs/few.py'
    path.parent.mkdir()
    path.write_text(f"_base_ = '{tiny_goodsam}'\ntrain_dataloader = dict(dataset=dict(limit=2))\n")
    return path


def test_mmsegmentation_opens_the_labels_that_training_sees(checkpoint, few, run_tool, tmp_path, capsys):
    (model, weights), out = checkpoint, tmp_path / 'labels'
    command = ('export_labels.py', few, weights, '--out', out)
    part = run_tool(*command, '--shard', '1/2')
    assert part.returncode == 0, part.stderr[-3000:]
    dataset = build_dataset(read_config(str(few)), 'train', None)
    assert len(dataset) == 2
    assert f'1 panoramas labelled; 1 of 2 are in {out}' in part.stdout
    rest = run_tool(*command)
    assert f'2 panoramas labelled (1 already there); 2 of 2 are in {out}' in rest.stdout
    assert 'labels of the ensemble' in rest.stderr

    out = out.rename(tmp_path / 'moved')  # the config finds what lies beside it
    config = Config.fromfile(out / 'dataset.py')
    found = DATASETS.build(config.train_dataset)
    assert found.metainfo['classes'][13] == 'car' and found.metainfo['palette'][0] == [128, 64, 128]
    assert found.ignore_index == 255 and len(found) == 2
    shown = {dataset.get_data_info(i)['image_id']: i for i in range(2)}
    for i in range(2):
        name = Path(found.get_data_info(i)['img_path']).relative_to(out / 'img_dir/train').with_suffix('').as_posix()
        index = shown.pop(name)
        assert Path(found.get_data_info(i)['img_path']).samefile(dataset.get_data_info(index)['img_path'])
        labels = found[i]['data_samples'].gt_sem_seg.data[0].numpy()
        panels = draw(model, model, dataset, index)
        assert np.array_equal(colour(labels, dataset.metainfo['palette']), panels['ensemble'][1])
        weight = read(out / f'weight_dir/train/{name}.png')
        assert set(np.unique(weight)) <= {0, 255}
        assert f'{(weight == 255).mean():.0%} reliable' in panels['weight'][0]
        assert torch.equal(found[i]['inputs'], dataset[index]['inputs'])
    assert not shown and '/' in name

    about = json.loads((out / 'goodsam_labels.json').read_text())
    assert about['checkpoint_sha256'] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert about['mask_cache_fingerprint'] == dataset.mask_cache.fingerprint.key
    assert (about['images'], about['ignored_label'], about['weight_1_is']) == (2, 255, 255)
    before = {file: file.stat().st_mtime_ns for file in out.rglob('*.png')}
    assert export_labels.main([str(few), str(weights), '--out', str(out)]) == 0
    assert '2 panoramas labelled (2 already there)' in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in out.rglob('*.png')} == before
    with pytest.raises(ConfigError, match='holds something else, such as few'):
        export_labels.main([str(few), str(weights), '--out', str(few.parent)])


def test_pixels_that_are_left_out_have_no_label(checkpoint, tiny_goodsam):
    model, _ = checkpoint
    packed = build_dataset(read_config(str(tiny_goodsam)), 'train', None)[0]
    labels, weight = ensemble_labels(model, packed)
    assert labels.dtype == np.uint8 and labels.shape == weight.shape == (100, 512)
    left_out = torch.zeros(100, 512, dtype=torch.bool)
    left_out[90:] = True
    packed['data_samples'].left_out = left_out
    without, weightless = ensemble_labels(model, packed)
    assert (without[90:] == 255).all() and (weightless[90:] == 0).all()
    assert np.array_equal(without[:90], labels[:90]) and np.array_equal(weightless[:90], weight[:90])


def test_a_folder_of_something_else_is_refused(tmp_path):
    made(tmp_path / 'out', 'hf', False, tmp_path / 'in')
    for layout, about, said in (
        ('mmseg', ABOUT, 'holds another layout; give another --out, or remove that folder'),
        ('hf', {**ABOUT, 'labels': 'b' * 16}, 'holds labels of another checkpoint, config or mask cache; give another'),
    ):
        with pytest.raises(ConfigError, match=said):
            TrainingSet(tmp_path / 'out', layout, False, about)
    with pytest.raises(ConfigError, match='holds something else, such as a'):
        TrainingSet(tmp_path / 'in', 'hf', False, ABOUT)
    with pytest.raises(ConfigError, match='is no folder'):
        refuse_others(tmp_path / 'in/a.png', {})


def made(root: Path, layout: str, copied: bool, images: Path) -> TrainingSet:
    """A data set of two images with known labels."""
    data, entries = TrainingSet(root, layout, copied, ABOUT), []
    for seed, name in enumerate(('a.png', 'sub/b.c.JPG')):
        source = images / name
        source.parent.mkdir(parents=True, exist_ok=True)
        if not source.exists():
            Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 16, 3), np.uint8)).save(source)
        entry = Entry(name.rpartition('.')[0], name)
        entries.append(entry)
        if not data.is_finished(entry, source, f'{seed}' * 64):
            labels = np.random.default_rng(seed).choice([0, 1, 255], (8, 16)).astype(np.uint8)
            data.write(entry, source, f'{seed}' * 64, labels, (labels == 1).astype(np.float32))
    assert data.put_together(entries) == (2, 0)
    return data


def test_images_of_several_formats_are_one_data_set_for_mmsegmentation(tmp_path):
    init_default_scope('mmseg')
    made(tmp_path / 'out', 'mmseg', True, tmp_path / 'in')
    found = DATASETS.build(Config.fromfile(tmp_path / 'out/dataset.py').train_dataset)
    assert len(found) == 2
    for i in range(2):
        labels = found[i]['data_samples'].gt_sem_seg.data[0].numpy()
        expected = [np.random.default_rng(seed).choice([0, 1, 255], (8, 16)) for seed in (0, 1)]
        assert any(np.array_equal(labels, each) for each in expected)
    assert not any(path.is_symlink() for path in (tmp_path / 'out').rglob('*'))


def test_hugging_faces_layout_is_literally_what_its_documentation_says(tmp_path):
    out = tmp_path / 'out'
    data = made(out, 'hf', False, tmp_path / 'in')
    rows = [json.loads(line) for line in (out / 'train/metadata.jsonl').read_text().splitlines()]
    assert rows == [
        {
            'file_name': f'images/{name}',
            'label_file_name': f'labels/{image_id}.png',
            'weight_file_name': f'weights/{image_id}.png',
            'image_id': image_id,
        }
        for image_id, name in (('a', 'a.png'), ('sub/b.c', 'sub/b.c.JPG'))
    ]
    for seed, row in enumerate(rows):
        labels = read(out / 'train' / row['label_file_name'])
        assert np.array_equal(labels, np.random.default_rng(seed).choice([0, 1, 255], (8, 16)))
        assert np.array_equal(read(out / 'train' / row['weight_file_name']), np.where(labels == 1, 255, 0))
        image = out / 'train' / row['file_name']
        assert image.is_symlink() and image.samefile(tmp_path / 'in' / row['file_name'].removeprefix('images/'))
    assert json.loads((out / 'id2label.json').read_text()) == {'0': 'road', '1': 'car'}
    _, header, text = (out / 'README.md').read_text().split('---\n', 2)
    card = yaml.safe_load(header)
    assert card['task_categories'] == ['image-segmentation']
    assert card['configs'] == [{'config_name': 'default', 'data_files': [{'split': 'train', 'path': 'train/**'}]}]
    assert card['size_categories'] == ['n<1K']
    assert '| 1 | car |' in text

    source, entry = tmp_path / 'in/a.png', Entry('a', 'a.png')
    assert data.is_finished(entry, source, '0' * 64)
    assert not data.is_finished(entry, source, '1' * 64)  # another image
    assert not data.is_finished(entry, tmp_path / 'elsewhere/a.png', '0' * 64)
    assert not TrainingSet(out, 'hf', True, ABOUT).is_finished(entry, source, '0' * 64)  # a link, not a copy
    made(out, 'hf', True, tmp_path / 'in')
    assert (out / 'train/images/a.png').read_bytes() == source.read_bytes()
    assert not (out / 'train/images/a.png').is_symlink()


@pytest.mark.parametrize('layout', ['mmseg', 'hf'])
def test_lists_have_what_the_data_set_has_with_its_labels(tmp_path, layout):
    init_default_scope('mmseg')
    out, images = tmp_path / 'it\'s "out" 1', tmp_path / 'in'
    data = made(out, layout, True, images)
    renamed = (images / 'a.png').rename(images / 'a.PNG')
    entry = Entry('a', 'a.PNG')
    assert not data.is_finished(entry, renamed, '0' * 64)
    data.write(entry, renamed, '0' * 64, np.ones((8, 16), np.uint8), np.ones((8, 16)))
    assert len(list(out.rglob('a.png'))) == 2  # labels and weights, not the image's old name
    (out / data.layout.images / 'killed.PNG').write_bytes(renamed.read_bytes())  # its labels were not written
    assert data.put_together({entry}) == (1, 1)
    if layout == 'mmseg':
        found = DATASETS.build(Config.fromfile(out / 'dataset.py').train_dataset)
        assert [Path(found.get_data_info(i)['img_path']).name for i in range(len(found))] == ['a.PNG']
        assert (found[0]['data_samples'].gt_sem_seg.data == 1).all()
    else:
        rows = (out / 'train/metadata.jsonl').read_text().splitlines()
        assert [json.loads(row)['file_name'] for row in rows] == ['images/a.PNG']


def test_ids_that_no_line_of_a_list_can_name_are_found_in_the_folder(tmp_path):
    init_default_scope('mmseg')
    data, source = TrainingSet(tmp_path / 'out', 'mmseg', True, ABOUT), tmp_path / 'a .png'
    Image.new('RGB', (16, 8)).save(source)
    data.write(Entry('a ', 'a .png'), source, '0' * 64, np.ones((8, 16), np.uint8), np.ones((8, 16)))
    assert data.put_together({Entry('a ', 'a .png')}) == (1, 0)
    assert len(DATASETS.build(Config.fromfile(tmp_path / 'out/dataset.py').train_dataset)) == 1


def test_an_output_among_the_images_is_refused_before_anything_is_written(few, tmp_path):
    images = tmp_path / 'images'
    images.mkdir()
    config = tmp_path / 'own.py'
    config.write_text(f"_base_ = '{few}'\ntrain_dataloader = dict(dataset=dict(name=None, images='{images}'))\n")
    with pytest.raises(ConfigError, match='lies in the folder of images'):
        export_labels.main([str(config), '--out', str(images / 'labels')])
    assert not (images / 'labels').exists()


def test_initial_weights_are_made_without_a_line_for_each_parameter(tiny_goodsam):
    init_default_scope('mmseg')
    logger, records = MMLogger.get_current_instance(), []
    handler = logging.Handler()
    handler.emit = records.append
    handler.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        level = logger.level
        build_model(read_config(str(tiny_goodsam)), None, False)
        assert not records and logger.level == level
    finally:
        logger.removeHandler(handler)


def test_another_mask_of_what_is_left_out_makes_other_labels(checkpoint, few, tmp_path):
    (model, weights), roof = checkpoint, tmp_path / 'roof.png'
    steps = [{'type': name} for name in ('LoadPanorama', 'LoadCachedMasks')]
    steps += [{'type': 'LeaveOut', 'mask': str(roof)}, {'type': 'PackPanorama'}]
    options = {'train_dataloader.dataset.pipeline': steps}
    digests = []
    for grey in (255, 255, 0):
        Image.new('L', (8, 4), grey).save(roof)
        config = read_config(str(few), options)
        args = argparse.Namespace(checkpoint=str(weights), config=str(few))
        digests.append(export_labels.describe(args, config, build_dataset(config, 'train', None), model)['labels'])
    assert digests[0] == digests[1] != digests[2]
