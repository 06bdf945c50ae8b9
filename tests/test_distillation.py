"""Stage 2 from the command line: training, exact resume, two processes, scoring, prediction, export, mistakes."""

import base64
import hashlib
import io
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmseg.apis import init_model
from PIL import Image
from test_source_training import complaint

from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint, use_safe_loaders
from stage2_distill.data import datasets
from stage2_distill.deployment.export import export_student
from stage2_distill.deployment.student import Student
from stage2_distill.errors import ConfigError
from stage2_distill.training.cache_check import build_with_cache, expected_settings
from stage2_distill.training.experiment import build_runner, read_config

TERMS = ['ce_t_ta', 'cc', 'bd_t_ta', 'ta', 'ce_ta_s', 'ce_t_s', 'bd_t_s', 'student']


@pytest.fixture(scope='module')
def train(run_tool):
    def run(config, work, *flags):
        return run_tool('train.py', config, '--work-dir', work, *flags)

    return run


def losses(folder):
    """All terms of every iteration, from the log that MMEngine writes for programs."""
    found = {}
    for file in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in map(json.loads, file.read_text().splitlines()):
            if 'loss' in line:
                found[line['step']] = {name: value for name, value in line.items() if name.startswith('loss')}
    return found


def label_guard(folder):
    """What the label guard logged, by iteration."""
    lines = [json.loads(line) for file in folder.glob('*/vis_data/scalars.json') for line in file.open()]
    return {line.pop('step'): line for line in lines if 'label_agreement' in line}


@pytest.fixture(scope='module')
def trained(train, tiny_goodsam, tmp_path_factory):
    """Four iterations at one go; the folder and what was printed."""
    work = tmp_path_factory.mktemp('goodsam') / 'work'
    finished = train(tiny_goodsam, work)
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-3000:]
    return work, finished.stdout + finished.stderr


def test_training_logs_every_term_and_scores_both_networks(trained):
    work, text = trained
    logged = losses(work)
    assert list(logged) == [1, 2, 3, 4]
    assert set(logged[1]) == {f'loss_{name}' for name in TERMS} | {'loss'}
    for name in ('mIoU', 'ta_tile/mIoU', 'ta_slide/mIoU', 'IoU.bicycle', 'ta_tile/IoU.bicycle'):
        assert f' {name}: ' in text
    assert list(work.glob('best_mIoU_iter_4.pth'))
    assert list(work.glob('*/vis_data/events.out.tfevents.*'))


def test_training_logs_the_classes_of_the_labels_and_their_agreement_with_the_start(trained):
    work, text = trained
    ((step, logged),) = label_guard(work).items()
    assert step == 4
    shares = {name: value for name, value in logged.items() if name.startswith('label_share/')}
    assert len(shares) == 19
    assert 'label_share/traffic light' in shares
    assert sum(shares.values()) == pytest.approx(1)
    agreements = logged.keys() - shares.keys()
    assert agreements == {'label_agreement', 'assistant_agreement'}
    assert all(0 < logged[name] <= 1 for name in agreements)
    (line,) = re.findall(r'labels, iteration 4: .*', text)
    assert f'{logged["label_agreement"]:.1%} of {4 * 100 * 512} pixels are labelled as at the start' in line
    assert 'label_share' not in text


def test_a_resumed_training_has_the_losses_of_an_uninterrupted_one(train, trained, tiny_goodsam, tmp_path):
    work, _ = trained
    (tmp_path / 'work').mkdir()
    shutil.copy(work / 'iter_2.pth', tmp_path / 'work')
    (tmp_path / 'work/last_checkpoint').write_text(str(tmp_path / 'work/iter_2.pth'))
    # Loading samples in workers must not change them.
    workers = ('--cfg-options', 'train_dataloader.num_workers=2')
    resumed = train(tiny_goodsam, tmp_path / 'work', '--resume', *workers)
    assert resumed.returncode == 0, resumed.stdout[-3000:] + resumed.stderr[-3000:]
    expected = losses(work)
    assert losses(tmp_path / 'work') == {step: expected[step] for step in (3, 4)}
    assert 'start_labels.safetensors is missing or damaged: from here on, labels are compared' in resumed.stdout
    ends = [check_checkpoint(str(folder / 'iter_4.pth'))['state_dict'] for folder in (work, tmp_path / 'work')]
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
    other_seed = train(tiny_goodsam, tmp_path / 'work', '--resume', '--seed', '5')
    assert other_seed.returncode == 2
    assert other_seed.stderr.strip().splitlines()[-1].endswith('trained with seed 0, this run has 5; add --seed 0')


def test_a_killed_training_goes_on_from_its_last_checkpoint(train, start_tool, trained, tiny_goodsam, tmp_path):
    work, _ = trained
    process = start_tool('train.py', tiny_goodsam, '--work-dir', tmp_path)
    while process.poll() is None and not (tmp_path / 'last_checkpoint').exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (tmp_path / 'last_checkpoint').write_text('')  # the worst moment: MMEngine empties it before it writes
    resumed = train(tiny_goodsam, tmp_path, '--resume')
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert 'resumed epoch: 0, iter: 2' in resumed.stdout
    expected = losses(work)
    assert losses(tmp_path)[4] == expected[4]
    assert label_guard(tmp_path)[4]['label_agreement'] == label_guard(work)[4]['label_agreement'] < 1


def test_two_processes_train_together(train, tiny_goodsam, tmp_path):
    environment = {
        **os.environ,
        'OMP_NUM_THREADS': '1',
        'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
    }
    command = [str(ROOT / 'tools/dist_train.sh'), str(tiny_goodsam), '2', '--amp', '--work-dir', str(tmp_path)]
    command += ['--cfg-options', 'train_cfg.max_iters=2', 'train_cfg.val_interval=2']
    command += ['default_hooks.label_guard.panoramas=1']  # where bfloat16 is slow, each takes seconds
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert list(losses(tmp_path)) == [1, 2]
    shares = [value for name, value in label_guard(tmp_path)[2].items() if name.startswith('label_share/')]
    assert sum(shares) == pytest.approx(1)
    assert 'Iter(val) [2/2]' in finished.stdout + finished.stderr  # four panoramas, two each
    weights = check_checkpoint(str(tmp_path / 'iter_2.pth'))['state_dict']
    assert {name.split('.')[0] for name in weights} == {'student', 'teacher_assistant', 'label_assistant'}
    # As of one process, so it serves one as well; the averaged copy of the assistant is PyTorch's, which adds 'module'.
    assert not any('module' in name.removeprefix('label_assistant.module.') for name in weights)
    alone = train(tiny_goodsam, tmp_path, '--amp', '--resume', '--cfg-options', 'train_cfg.max_iters=3')
    assert alone.returncode == 0, alone.stderr[-3000:]
    assert list(losses(tmp_path)) == [1, 2, 3]


def test_scores_of_all_predictors_by_scale_and_what_is_needed_for_the_ensemble(
    trained, tiny_goodsam, tiny_caches, run_tool, tmp_path
):
    work, _ = trained
    out = tmp_path / 'scores.json'
    scored = run_tool(
        'test.py', tiny_goodsam, work / 'iter_4.pth', '--cache', tiny_caches['val'], '--input-scale', '1', '0.5',
        '--work-dir', tmp_path, '--out', out, '--show-dir', tmp_path / 'pictures',
    )  # fmt: skip
    assert scored.returncode == 0, scored.stdout[-3000:] + scored.stderr[-3000:]
    assert '| mode | input scale 0.5 | input scale 1 |' in scored.stdout
    rows = json.loads(out.read_text())['scores']
    assert [row['mode'] for row in rows] == ['student', 'ta_tile', 'ta_slide', 'ensemble'] * 2
    assert all('IoU.train' in row for row in rows)
    assert rows[0]['mIoU'] == rows[4]['mIoU']  # the student does not see the assistant's scale
    assert rows[1]['mIoU'] != rows[5]['mIoU']
    assert len(list((tmp_path / 'pictures').rglob('*.png'))) == 2 * 4


def test_initial_weights_are_scored_without_a_checkpoint(trained, tiny_goodsam, run_tool, tmp_path):
    work, _ = trained
    start = tmp_path / 'start.pth'
    weights = check_checkpoint(str(work / 'iter_4.pth'))['state_dict']
    torch.save({n.removeprefix('student.'): w for n, w in weights.items() if n.startswith('student.')}, start)
    both = [f'model.{name}.init_cfg.type=Pretrained' for name in ('student', 'teacher_assistant')]
    both += [f'model.{name}.init_cfg.checkpoint={start}' for name in ('student', 'teacher_assistant')]
    scores = []
    for arguments in ((work / 'iter_4.pth',), ('--cfg-options', *both)):
        scored = run_tool('test.py', tiny_goodsam, *arguments, '--predictor', 'student', '--work-dir', tmp_path)
        assert scored.returncode == 0, scored.stdout[-3000:] + scored.stderr[-3000:]
        scores.append(json.loads((tmp_path / 'scores.json').read_text())['scores'][0])
    assert scores[0] == scores[1]


def test_the_exported_student_is_the_trained_one_in_mmseg_and_in_onnx(
    trained, tiny_goodsam, tiny_toypass, tiny_caches, run_tool, tmp_path
):
    work, _ = trained
    data, _ = tiny_toypass
    files = [tmp_path / f'student.{suffix}' for suffix in ('safetensors', 'py', 'sha256', 'onnx')]
    exported = run_tool(
        'export_student.py', tiny_goodsam, work / 'iter_4.pth', '--out', files[0],
        '--onnx', files[3], '--size', '100x512',
    )  # fmt: skip
    assert exported.returncode == 0, exported.stderr[-3000:]
    assert 'differs from PyTorch by' in exported.stdout
    for line in files[2].read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
    card, (masks,) = (tmp_path / 'student.md').read_text(), (tiny_caches['train']).glob('*/manifest.json')
    assert f'fingerprint {masks.parent.name}, made by' in card and 'those after iteration 4' in card
    assert '| validation of the run | ' in card
    images = data / 'target/leftImg8bit/val'
    pixels = np.asarray(Image.open(next(images.rglob('*.png'))).convert('RGB'))
    ours = Student.load(str(tiny_goodsam), str(work / 'iter_4.pth')).label(pixels)
    use_safe_loaders()
    theirs = init_model(str(files[1]), str(files[0]), device='cpu')
    count = sum(weight.numel() for weight in theirs.parameters())
    assert f'{count / 1e6:.1f} M parameters, 19 classes' in exported.stdout
    from mmseg.apis import inference_model

    found = inference_model(theirs, np.ascontiguousarray(pixels[..., ::-1])).pred_sem_seg.data[0].numpy()
    assert (found == ours).mean() > 0.9999  # one resizes logits, the other adds a step that does nothing
    assert theirs.dataset_meta['classes'][13] == 'car'

    predicted = run_tool(
        'predict.py', files[1], files[0], '--images', images, '--out', tmp_path / 'out', '--scale', '1'
    )
    assert predicted.returncode == 0, predicted.stderr[-3000:]
    assert '13 car' in predicted.stdout
    names = sorted(path.relative_to(images) for path in images.rglob('*.png'))
    for kind in ('labels', 'overlays'):
        assert sorted(p.relative_to(tmp_path / 'out' / kind) for p in (tmp_path / 'out' / kind).rglob('*.png')) == names
    label = np.asarray(Image.open(tmp_path / 'out/labels' / names[0]))
    assert label.shape == (100, 512)
    assert label.max() < 19


def test_predict_goes_on_after_an_image_that_cannot_be_read(trained, tiny_goodsam, tmp_path, run_tool):
    work, _ = trained
    (tmp_path / 'in').mkdir()
    Image.fromarray(np.zeros((64, 128, 3), np.uint8)).save(tmp_path / 'in/good.png')
    (tmp_path / 'in/bad.png').write_bytes(b'no picture')
    predicted = run_tool(
        'predict.py', tiny_goodsam, work / 'iter_4.pth',
        '--images', tmp_path / 'in', '--out', tmp_path / 'out', '--wrap',
    )  # fmt: skip
    assert predicted.returncode == 1
    assert '1 of 2 images' in predicted.stdout
    assert 'bad.png' in predicted.stderr
    assert 'Traceback' not in predicted.stderr
    assert [p.name for p in (tmp_path / 'out/labels').iterdir()] == ['good.png']


def test_a_student_is_judged_without_labels(trained, tiny_goodsam, tiny_toypass, tiny_caches, run_tool, tmp_path):
    work, _ = trained
    images = next(path for path in tiny_toypass[0].rglob('train') if list(path.rglob('*.png')) and 'eft' in str(path))
    judged = run_tool(
        'judge_unlabelled.py', tiny_goodsam, work / 'iter_4.pth', '--images', images,
        '--cache', tiny_caches['train'], '--out', tmp_path / 'scores.json',
    )  # fmt: skip
    assert judged.returncode == 0, judged.stderr
    table = json.loads((tmp_path / 'scores.json').read_text())
    assert list(table) == ['assistant', 'ensemble', 'student', 'student, initial']
    assert set(table['student']) == {
        'as assistant', 'as ensemble', 'IoU assistant', 'seam stays', 'on edges', 'by chance', 'boundary'
    }  # fmt: skip
    assert all(0 <= score <= 100 for row in table.values() for score in row.values())
    assert table['assistant']['as ensemble'] == table['ensemble']['as assistant']
    assert f'{table["student"]["on edges"]:.1f}' in judged.stdout


def test_browse_pseudo_labels_draws_every_panel(trained, tiny_goodsam, tiny_caches, run_tool, tmp_path):
    work, _ = trained
    heights = []
    for flags in (('--id', 'Elmira/1'), ('--split', 'val', '--cache', tiny_caches['val'])):
        out = tmp_path / 'look.png'
        drawn = run_tool('browse_pseudo_labels.py', tiny_goodsam, work / 'iter_4.pth', *flags, '--out', out)
        assert drawn.returncode == 0, drawn.stderr[-3000:]
        with Image.open(out) as picture:
            assert picture.width == 512
            heights.append(picture.height)
    assert heights == [8 * 126, 9 * 126]  # the second has labels, so the truth is drawn too


def test_browse_pseudo_labels_draws_the_panels_that_are_asked_for(
    trained, tiny_goodsam, tiny_caches, run_tool, tmp_path
):
    work, _ = trained
    flags = ('--split', 'val', '--cache', tiny_caches['val'], '--columns', '2', '--out', tmp_path / 'look.png')
    panels = ('--panels', 'student', 'before', 'image')
    drawn = run_tool('browse_pseudo_labels.py', tiny_goodsam, work / 'iter_4.pth', *flags, *panels)
    assert drawn.returncode == 0, drawn.stderr[-3000:]
    with Image.open(tmp_path / 'look.png') as picture:
        assert picture.size == (2 * 512, 2 * 126)
        sheet = np.asarray(picture)
    panel = {'student': sheet[26:126, :512], 'before': sheet[26:126, 512:], 'image': sheet[152:, :512]}
    assert (panel['student'] != panel['before']).any()  # it was trained
    assert len(np.unique(panel['image'].reshape(-1, 3), axis=0)) > 19  # a photograph, not labels
    assert (sheet[126:, 512:] == 255).all()


def test_a_run_becomes_one_page_that_needs_nothing_else(
    trained, tiny_goodsam, tiny_caches, tiny_toypass, run_tool, tmp_path
):
    work, _ = trained
    scores = {
        'dataset': 'toy',
        'images': {'scored': 2},
        'scores': [{'mode': 'student', 'mIoU': 45.678, 'IoU.road': 91.5}],
    }
    (work / 'scores.json').write_text(json.dumps(scores))
    out = tmp_path / 'report.html'
    flags = ('--split', 'val', '--cache', tiny_caches['val'], '--count', '2', '--out', out)
    made = run_tool('report.py', work, *flags)
    assert made.returncode == 0, made.stderr[-3000:]
    assert made.stdout.strip().endswith('2 panoramas, 1 score files')
    page = out.read_text()
    own = re.sub(r'<script>/?\*? ?.*?pannellum.*?</script>', '', page, flags=re.DOTALL)  # links of its menu
    assert not re.search(r'(?:src|href|url)\s*[=(]\s*["\']?(?:https?:)?//', own)
    for text in ('45.68', '91.50', 'loss_ce_t_s', 'Share of each class', 'MIT licence', 'Matthew Petroff'):
        assert text in page, text
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    panoramas = json.loads(data[1])
    assert len(panoramas) == 2
    layers = {layer['name']: layer['source'] for layer in panoramas[0]['layers']}
    assert set(layers) >= {'image', 'masks', 'assistant', 'ensemble', 'student', 'confidence', 'truth'}
    for source in layers.values():
        content = base64.b64decode(source.partition('base64,')[2])
        with Image.open(io.BytesIO(content)) as picture:
            assert picture.size == (512, 100) == (panoramas[0]['width'], panoramas[0]['height'])
    alone = run_tool('report.py', work, '--count', '0')
    assert alone.returncode == 0 and (work / 'report.html').is_file()
    for arguments, said in (
        ((tmp_path,), f'{tmp_path} holds no config of a training run'),
        ((work, '--id', 'Elmira/77'), "there is no panorama 'Elmira/77'"),
    ):
        refused = run_tool('report.py', *arguments)
        assert refused.returncode and said in refused.stderr and 'Traceback' not in refused.stderr


WITHOUT_THE_PROJECT = """
import sys

class Missing:
    def find_spec(self, name, *_):
        if name.split('.')[0] in ('stage1_sam_cache', 'stage2_distill'):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
import numpy as np
from mmseg.apis import inference_model, init_model
image = np.load(sys.argv[1])
for folder in sys.argv[2:]:
    model = init_model(f'{folder}/student_mmseg.py', f'{folder}/student.pth', device='cpu')
    assert model.dataset_meta['classes'][13] == 'car'
    np.save(f'{folder}/labels.npy', inference_model(model, image).pred_sem_seg.data[0].numpy())
"""


def test_the_plain_export_needs_mmseg_alone(trained, tiny_goodsam, picture, tmp_path):
    work, _ = trained
    pixels = picture(100, 512)
    np.save(tmp_path / 'image.npy', pixels[..., ::-1])
    exports = {}
    for half in (False, True):
        out = tmp_path / f'half {half}/student.safetensors'
        out.parent.mkdir()
        files = exports[half] = export_student(str(tiny_goodsam), str(work / 'iter_4.pth'), out, half)
        names = ['student.safetensors', 'student.py', 'student.sha256', 'student.pth', 'student_mmseg.py']
        assert [file.name for file in files] == names
        content = torch.load(files[3], weights_only=True)
        assert set(content) == {'meta', 'state_dict'}
        assert set(content['meta']) == {'dataset_meta'}
        assert 'stage2_distill' not in files[4].read_text()
    command = [tmp_path / 'image.npy', *(files[0].parent for files in exports.values())]
    done = subprocess.run(
        [sys.executable, '-c', WITHOUT_THE_PROJECT, *map(str, command)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for files in exports.values():
        ours = Student.load(str(files[1]), str(files[0])).label(pixels)
        assert (np.load(files[0].parent / 'labels.npy') == ours).mean() > 0.9999


def test_an_export_does_not_overwrite_what_it_reads(trained, tiny_goodsam):
    work, _ = trained
    before = (work / 'iter_4.pth').read_bytes()
    with pytest.raises(ConfigError, match=r'overwrite .*iter_4\.pth.*give another --out'):
        export_student(str(tiny_goodsam), str(work / 'iter_4.pth'), work / 'iter_4.safetensors')
    assert (work / 'iter_4.pth').read_bytes() == before
    assert not (work / 'iter_4.py').exists()


# --- data ---


def test_every_data_set_is_listed_once_before_the_first_step(tiny_goodsam, tmp_path, monkeypatch):
    listed = []
    list_dataset = datasets.list_dataset
    monkeypatch.setattr(datasets, 'list_dataset', lambda *args: listed.append(args[:2]) or list_dataset(*args))
    config = read_config(str(tiny_goodsam))
    config.work_dir = str(tmp_path)
    runner = build_runner(config)
    loaders = [runner.train_dataloader, runner.val_dataloader, runner.test_dataloader]
    assert sorted(listed) == [('toypass', 'train'), ('toypass', 'val')]  # val and test have the same settings
    assert loaders[1].dataset is loaders[2].dataset
    told = next(tmp_path.glob('*/*.log')).read_text()
    cache = loaders[0].dataset.mask_cache
    assert f'masks of {cache.path}, fingerprint {cache.fingerprint.key}, generator {{"' in told
    assert '"name": "felzenszwalb"' in told


def test_samples_carry_neither_the_cache_nor_the_label_reader(tiny_goodsam, tiny_caches):
    config = read_config(str(tiny_goodsam))
    steps = [{'type': name} for name in ('LoadPanorama', 'LoadCachedMasks', 'LoadLabel', 'PackPanorama')]
    settings = {**config.val_dataloader.dataset, 'cache': str(tiny_caches['val']), 'pipeline': steps}
    dataset = build_with_cache({**settings, 'expect': expected_settings(config, scored=True)})
    plain = {'img_path', 'image_id', 'seg_fields', 'seg_map_path', 'sample_idx'}
    assert set(dataset.get_data_info(0)) == plain
    samples = [each[0]['data_samples'] for each in (dataset, pickle.loads(pickle.dumps(dataset)))]
    assert torch.equal(samples[0].gt_sem_seg.data, samples[1].gt_sem_seg.data)
    assert samples[0].cached_masks.windows[0].masks == samples[1].cached_masks.windows[0].masks > 0


# --- mistakes ---


def test_a_training_that_cannot_start_says_why_in_one_line(
    tiny_goodsam, tiny_caches, tiny_toypass, run_tool, tmp_path, monkeypatch
):
    data, _ = tiny_toypass
    images, windows = r'tools/cache_sam\.py --dataset toypass --data-root \S+', '--window 100x128 --stride 64 --wrap'
    anew = rf'{images} --sam toy {windows} --out \S+$'
    filling = rf'{images} --generator felzenszwalb {windows} --overlap-source window --scales 50(\.0)? --out \S+$'

    def told(*options):
        return complaint('train', monkeypatch, tiny_goodsam, '--work-dir', tmp_path, '--cfg-options', *options)

    cache = 'train_dataloader.dataset.cache='
    sam = told('expected_cache.generator.name=sam', 'expected_cache.boundary.source=crop')
    assert "generator.name is 'felzenszwalb', not 'sam'; boundary.source is 'window', not 'crop'; run tools/" in sam
    assert re.search(r'none: no mask cache here; run ' + anew, told(f'{cache}{tmp_path}/none'))
    other = told('model.grid.stride=32')
    assert 'made with other settings: grid.stride' in other
    assert '--stride 32 --wrap' in other
    copy = tmp_path / 'copy'
    shutil.copytree(tiny_caches['train'], copy)
    folder = next(path for path in copy.iterdir() if path.is_dir())
    manifest = (folder / 'manifest.json').read_text()
    file = next(folder.glob('*.h5'))
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    assert re.search(
        r'has \d+ bytes, not \d+; run tools/inspect_cache.py repair \S+, then tools/cache_sam', told(cache + str(copy))
    )
    file.unlink()
    assert re.search(
        r'1 of 4 training images are not in the cache, the first is \S+; run ' + filling, told(cache + str(copy))
    )
    file.write_bytes(content)
    (folder / 'manifest.json').unlink()
    assert re.search(r'the cache was not finished and sealed; run ' + filling, told(cache + str(copy)))
    (folder / 'manifest.json').write_text(manifest)
    assert 'has no value; none is train_dataloader.dataset.cache=None' in told(cache)
    assert 'has no cache' in told(f'{cache}None')
    assert 'cannot be rolled' in told('model.grid.wrap=False', f'{cache}{open_grid(data, run_tool, tmp_path)}')
    assert 'none.pth does not exist' in told(
        'model.student.init_cfg.type=Pretrained', 'model.student.init_cfg.checkpoint=none.pth'
    )


def test_tools_that_read_masks_refuse_those_of_another_generator(tiny_goodsam, tiny_caches, tmp_path, monkeypatch):
    val, sam = tiny_caches['val'], ('--cfg-options', 'expected_cache.generator.name=sam')
    for tool, *flags in (
        ('test', '--cache', val, '--work-dir', tmp_path),
        ('browse_pseudo_labels', '--split', 'val', '--cache', val),
    ):
        told = complaint(tool, monkeypatch, tiny_goodsam, *flags, *sam)
        assert (
            "generator.name is 'felzenszwalb', not 'sam'; run tools/cache_sam.py --dataset toypass --split val" in told
        )


def open_grid(data, run_tool, tmp_path):
    """A cache of windows that don't cross the seam."""
    out = tmp_path / 'open'
    flags = ['--dataset', 'toypass', '--data-root', data, '--generator', 'felzenszwalb', '--scales', '200']
    flags += ['--window', '100x128', '--stride', '64', '--overlap-source', 'window', '--out', out]
    run_tool('cache_sam.py', *flags).check_returncode()
    return out


def test_a_config_without_labels_is_not_scored(monkeypatch):
    told = complaint('test', monkeypatch, ROOT / 'mmseg_configs/goodsam_b0_own.py', 'any.pth')
    assert 'goodsam_b0_own.py has no labelled data to score on' in told


def test_weights_of_other_classes_are_refused(trained, tiny_goodsam, tmp_path, monkeypatch):
    work, _ = trained
    start = tmp_path / 'start.pth'
    weights = check_checkpoint(str(work / 'iter_4.pth'))['state_dict']
    weights = {n.removeprefix('student.'): w for n, w in weights.items() if n.startswith('student.')}
    for name in ('weight', 'bias'):
        weights[f'decode_head.conv_seg.{name}'] = weights[f'decode_head.conv_seg.{name}'][:13]
    torch.save({'state_dict': weights}, start)
    found = complaint(
        'train', monkeypatch, tiny_goodsam, '--work-dir', tmp_path, '--cfg-options',
        'model.student.init_cfg.type=Pretrained', f'model.student.init_cfg.checkpoint={start}',
    )  # fmt: skip
    assert 'start.pth does not fit model.student: it has 13 classes, not 19: 2 of ' in found
    assert 'decode_head.conv_seg.' in found


def test_a_loss_that_is_no_number_stops_the_training_and_is_named(train, tiny_goodsam, tmp_path):
    options = ('model.mka_head.consistency=1e39', 'train_cfg.max_iters=2')
    finished = train(tiny_goodsam, tmp_path, '--cfg-options', *options)
    assert finished.returncode == 2
    last = finished.stderr.strip().splitlines()[-1]
    assert last.startswith('error: iteration 1: loss_cc is inf, loss_ta is inf, loss is inf; training stops')
    assert 'Traceback' not in finished.stderr
    assert not list(tmp_path.glob('iter_*.pth'))


@pytest.mark.parametrize(
    ('damage', 'message'),
    [('size', r'labels of \(50, 512\) pixels for an image of \(100, 512\)'), ('ids', 'ids 19, 200 are none of the 19'),
     ('colour', 'label ids of 8 bits are needed, not RGB of shape'), ('junk', 'damaged or no PNG')],
)  # fmt: skip
def test_labels_that_do_not_fit_are_told_in_one_line(
    trained, tiny_goodsam, tiny_toypass, run_tool, tmp_path, damage, message
):
    work, _ = trained
    data, _ = tiny_toypass
    shutil.copytree(data / 'target', tmp_path / 'target')
    label = next((tmp_path / 'target/gtFine/val').rglob('*.png'))
    ids = np.zeros((100, 512), np.uint8)
    ids[0, :2] = 19, 200
    pictures = {'size': ids[:50], 'ids': ids, 'colour': np.zeros((100, 512, 3), np.uint8)}
    if damage == 'junk':
        label.write_bytes(b'no picture')
    else:
        Image.fromarray(pictures[damage]).save(label)
    root = tmp_path / 'target'
    flags = ['--work-dir', tmp_path, '--predictor', 'student', '--cfg-options']
    flags += [f'test_dataloader.dataset.root={root}', 'test_dataloader.num_workers=1']
    finished = run_tool('test.py', tiny_goodsam, work / 'iter_4.pth', *flags)
    assert finished.returncode == 2, finished.stderr[-2000:]
    assert re.search(rf'^error: {re.escape(str(label))}: .*{message}', finished.stderr.strip().splitlines()[-1])
