"""OmniSAM as a segmentor: windows, training steps, memory controls, initial weights; and its configs."""

import copy
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS, TRANSFORMS
from mmseg.structures import SegDataSample
from safetensors.torch import save_file
from test_source_training import complaint

from stage1_sam_cache.data.catalog import DATASETS
from stage1_sam_cache.data.label_spaces import LABEL_SPACES, REMAPS
from stage1_sam_cache.errors import InputSizeError
from stage2_distill.checkpoints.fit import initial_files
from stage2_distill.errors import CheckpointError, ConfigError
from stage2_distill.omnisam import registered  # noqa: F401
from stage2_distill.omnisam.initial_weights import as_sam2_weights
from stage2_distill.omnisam.window_choice import WindowChoice

CONFIGS = sorted((ROOT / 'mmseg_configs/omnisam').glob('source_*.py'))
GRID = {'window': (64, 64), 'stride': 32}
PATCH = 64
CLASSES = 5


def build(**settings):
    pytest.importorskip('sam2')
    init_default_scope('mmseg')
    torch.manual_seed(0)
    preprocessor = {'type': 'PanoramaPreProcessor', 'size_divisor': 1}
    base = {'size': 'toy', 'num_classes': CLASSES, 'grid': GRID, 'patch_size': PATCH, 'memory_slots': 2}
    model = MODELS.build({'type': 'OmniSAM', 'data_preprocessor': preprocessor, **base, **settings})
    model.init_weights()
    return model


def batch(*seeds, width=128):
    """Images and labels; a seed is also that of the order."""
    samples = []
    for seed in seeds:
        sample = SegDataSample(metainfo={'order_seed': seed, 'ori_shape': (64, width)})
        generator = torch.Generator().manual_seed(seed)
        sample.gt_sem_seg = PixelData(data=torch.randint(CLASSES, (1, 64, width), generator=generator))
        samples.append(sample)
    images = [torch.rand(3, 64, width, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return {'inputs': images, 'data_samples': samples}


def optimizer(model, lr=0.01):
    wrapper = {'type': 'OptimWrapper', 'constructor': 'TrainedConstructor', 'optimizer': {'type': 'SGD', 'lr': lr}}
    return build_optim_wrapper(model, wrapper)


def stacked(data):
    return torch.stack(data['inputs']), data['data_samples']


# --- windows ---


def test_an_image_gets_the_windows_of_its_height():
    choice = WindowChoice(
        [{'window': (1024, 1024), 'stride': 128}, {'window': (400, 512), 'stride': 192, 'wrap': True}]
    )
    assert len(choice.over(1024, 2048).windows) == 9
    assert (len(choice.over(400, 2048).windows), len(choice.over(400, 2048, closed=False).windows)) == (11, 9)
    with pytest.raises(
        InputSizeError, match=r'windows for images of 1024 or 400 rows, not of 512; add such windows to model\.grid'
    ):
        choice.over(512, 1024)
    assert len(WindowChoice(GRID).over(64, 128).windows) == 3
    for wrong in ([], [GRID, GRID], {'window': (64, 64), 'step': 3}, {'window': (64,), 'stride': 1}, [3]):
        with pytest.raises(ConfigError, match=r'model\.grid='):
            WindowChoice(wrong)
    with pytest.raises(InputSizeError, match='cannot wrap around'):
        WindowChoice({**GRID, 'wrap': True}).over(64, 32)


# --- training ---


def test_patches_and_labels_are_visited_in_one_order_that_the_seed_decides():
    model = build(grid={'window': (64, 64), 'stride': 64}, num_classes=2)
    data = batch(0, 1, 2, 3)
    for sample, image in zip(data['data_samples'], data['inputs'], strict=True):
        image[..., :64], image[..., 64:] = 0, 1
        sample.gt_sem_seg.data = image[:1].long()
    patches, labels, windows = model.training_patches(*stacked(data))
    assert patches.shape == (4, 2, 3, 64, 64) and labels.shape == (4, 2, 64, 64)
    assert torch.equal(patches[:, :, 0].long(), labels) and torch.equal(labels[..., 0, 0], windows)
    first = labels[:, 0, 0, 0].tolist()
    assert set(first) == {0, 1}  # some are reversed
    for index, seed in enumerate((0, 1, 2, 3)):  # each by itself, whatever else is in the batch
        assert model.training_patches(*stacked(batch(seed)))[1].shape == (1, 2, 64, 64)
        alone = {name: [value[index]] for name, value in data.items()}
        assert model.training_patches(*stacked(alone))[1][0, 0, 0, 0] == first[index]
    model.reverse = 0
    assert not model.training_patches(*stacked(data))[1][:, 0].any()


def test_the_loss_is_the_mean_over_patches_and_ignores_255():
    model = build().eval()
    data = batch(0)
    data['data_samples'][0].gt_sem_seg.data[..., 100:] = 255
    patches, labels, _ = model.training_patches(*stacked(data))
    entries, losses = [], []
    for step in range(3):
        features = model.encoder(patches[:, step])
        logits = model.see(features, entries[-2:])[1]
        entries.append(model.remember(features, logits))
        losses.append(torch.nn.functional.cross_entropy(logits, labels[:, step], ignore_index=255))
    found = model.loss(*stacked(data))
    torch.testing.assert_close(found['loss_ce'], torch.stack(losses).mean())
    data['data_samples'][0].gt_sem_seg.data[:] = 255
    assert model.loss(*stacked(data))['loss_ce'] == 0


def test_a_step_per_patch_is_the_step_per_sequence_for_sequences_of_one():
    weights = []
    for step in ('patch', 'sequence'):
        model = build(step=step).train()
        torch.manual_seed(1)  # of the dropout
        log = model.train_step(batch(0, 1, width=64), optimizer(model))
        assert set(log) == {'loss', 'loss_ce', 'acc_seg'}
        weights.append(model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_every_patch_has_an_optimizer_step_of_its_own():
    model = build(step='patch').train()
    wrapper = optimizer(model)
    seen = []
    step = wrapper.step
    wrapper.step = lambda: seen.append(model.head.state_dict()) or step()
    model.train_step(batch(0), wrapper)
    assert len(seen) == 3
    assert all(value.grad is None or not value.grad.any() for value in model.parameters())


def test_only_what_is_trained_goes_to_the_optimizer_and_changes():
    model = build().train()
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    wrapper = optimizer(model)
    given = {id(value) for group in wrapper.optimizer.param_groups for value in group['params']}
    assert given == {id(value) for name, value in model.named_parameters() if name in trained}
    before, step, with_gradient = copy.deepcopy(dict(model.named_parameters())), wrapper.step, []
    wrapper.step = lambda: with_gradient.extend(n for n, v in model.named_parameters() if v.grad is not None) or step()
    model.train_step(batch(0), wrapper)
    assert set(with_gradient) == trained
    changed = {name for name, value in model.named_parameters() if not torch.equal(before[name], value)}
    assert {'memory.tau', 'memory.nu', 'head.classify.weight', 'encoder.conv_s0.weight'} <= changed <= trained
    assert {name.split('.')[0] for name in trained} == {'encoder', 'memory', 'head'}
    assert all('.qkv.' in name and '.linear.' not in name for name in trained if 'trunk' in name)
    assert not any('memory_encoder' in name for name in trained)
    wrapper = {'constructor': 'TrainedConstructor', 'optimizer': {'type': 'SGD', 'lr': 1}, 'paramwise_cfg': {'a': 1}}
    with pytest.raises(ConfigError, match='takes no paramwise_cfg'):
        build_optim_wrapper(model, wrapper)


def test_without_memory_every_patch_is_a_first_one():
    none, share = build(memory_slots=0), build(train_memory_share=0.0)
    assert not any(value.requires_grad for value in none.memory.memory_attention.parameters())
    share.load_state_dict(none.state_dict() | {'memory.tau': share.memory.tau})
    losses = [model.eval().loss(*stacked(batch(0)))['loss_ce'] for model in (none, share)]
    assert losses[0] == losses[1]
    with_memory = build()
    with_memory.load_state_dict(share.state_dict())
    assert with_memory.eval().loss(*stacked(batch(0)))['loss_ce'] != losses[0]
    drawn = build(train_memory_share=0.8)
    torch.manual_seed(0)
    assert {drawn.training_slots() for _ in range(30)} == {0, 2}


# --- prediction ---


def predict(model, data, **settings):
    model.settings = type(model.settings).of(settings)
    return model.eval().predict(*stacked(data))


def test_predictions_have_labels_and_confidence_at_the_images_size():
    model = build()
    data = batch(0, 1)
    found = predict(model, data)
    for sample in found:
        assert sample.pred_sem_seg.data.shape == sample.confidence.data.shape == (1, 64, 128)
        assert sample.pred_sem_seg.data.max() < CLASSES and 1 / CLASSES <= sample.confidence.data.min() <= 1
    for sample in data['data_samples']:
        sample.set_metainfo({'ori_shape': (32, 64)})
    small = predict(model, data)[0].pred_sem_seg.data
    assert torch.equal(small, found[0].pred_sem_seg.data[:, ::2, ::2]) or small.shape == (1, 32, 64)
    # An image is predicted by itself: nothing of another is left in the memory.
    alone = predict(model, batch(1))[0].confidence.data
    torch.testing.assert_close(alone, predict(model, batch(0, 1))[1].confidence.data)
    assert torch.equal(alone, predict(model, batch(1))[0].confidence.data)


def test_the_controls_of_the_memory_change_the_prediction():
    model = build(grid={**GRID, 'wrap': True})
    torch.nn.init.normal_(model.memory.tau)  # so that order matters much
    maps = {memory: predict(model, batch(0, 1), memory=memory)[0].confidence.data for memory in ('on', 'off', 'other')}
    maps['shuffled'] = predict(model, batch(0, 1), memory='shuffled')[0].confidence.data
    maps['forward'] = predict(model, batch(0, 1), laps='forward')[0].confidence.data
    maps['ring'] = predict(model, batch(0, 1), laps='ring', start=1)[0].confidence.data
    names = list(maps)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            assert not torch.equal(maps[one], maps[other]), (one, other)
    same = batch(0, 0)  # the other image is the image itself
    assert torch.equal(predict(model, same, memory='other')[0].confidence.data, maps['on'])
    with pytest.raises(ConfigError, match=r'this batch has one; give test_dataloader\.batch_size'):
        predict(model, batch(0), memory='other')
    for sample in same['data_samples']:
        sample.set_metainfo({'closed': False})
    with pytest.raises(ConfigError, match="laps='ring' goes around closed panoramas"):
        predict(model, same, laps='ring')


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'size': 'x'}, "OmniSAM has no size 'x'; known: t, s, b, l, toy"),
        ({'step': 'x'}, "OmniSAM has no step 'x'"),
        ({'mask_input': 'x'}, "OmniSAM has no mask_input 'x'"),
        ({'encoder': 'x'}, "OmniSAM has no encoder 'x'"),
        ({'reverse': 2}, r'model\.reverse=2'),
        ({'patch_size': (64, 128)}, r'model\.patch_size=\(64, 128\)'),
        ({'test_cfg': {'mode': 'whole'}}, r"model\.test_cfg\.mode='whole' of OmniSAM; give one of sequence"),
        ({'test_cfg': {'lap': 'both'}}, r'model\.test_cfg of OmniSAM has no lap; it has mode, laps'),
        ({'test_cfg': {'memory': 'none'}}, r"memory='none' of OmniSAM; give one of on, off, shuffled, other"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        build(**settings)


# --- initial weights ---


def test_weights_of_sam2_are_taken_over_and_given_back(tmp_path):
    model = build()
    weights = as_sam2_weights(model, model.sam2_names)
    assert {'image_encoder.trunk.blocks.0.attn.qkv.weight', 'sam_mask_decoder.conv_s0.weight'} <= weights.keys()
    random = {name: torch.randn(value.shape) for name, value in weights.items()}
    torch.save({'model': {**random, 'maskmem_tpos_enc': torch.zeros(7, 1, 1, 32)}}, tmp_path / 'as_published.pt')
    save_file({name: value.half() for name, value in random.items()}, tmp_path / 'half.safetensors')
    for file, kept in (('as_published.pt', random), ('half.safetensors', {n: v.half() for n, v in random.items()})):
        other = build(weights=str(tmp_path / file))
        found = as_sam2_weights(other, other.sam2_names)
        assert found.keys() == kept.keys()
        assert all(torch.equal(value, kept[name].float()) for name, value in found.items())
        assert not torch.equal(other.memory.tau, torch.zeros_like(other.memory.tau))
    file = str(tmp_path / 'half.safetensors')
    assert list(initial_files({'type': 'OmniSAM', 'weights': file})) == [file]
    del random['memory_attention.norm.weight']
    save_file(random, tmp_path / 'other.safetensors')
    with pytest.raises(
        CheckpointError, match=r'does not fit SAM 2 of size toy: 1 of \d+ .*norm.weight; give model.wei'
    ):
        build(weights=str(tmp_path / 'other.safetensors'))


def test_without_the_package_it_is_one_line_that_says_how_to_get_it(tiny_toypass, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'sam2', None)
    monkeypatch.chdir(tmp_path)
    config = tmp_path / 'toy.py'
    no_test = 'test_dataloader = test_cfg = test_evaluator = None\n'
    roots = ''.join(f"{part}_dataloader = dict(dataset=dict(root='{tiny_toypass[0]}'))\n" for part in ('train', 'val'))
    config.write_text(
        f"_base_ = '{CONFIGS[0].with_name('source_toypass.py')}'\nmodel = dict(weights=None)\n{roots}{no_test}"
    )
    found = complaint('train', monkeypatch, config)
    assert 'SAM 2 needs the package sam2, which is not installed' in found
    assert 'requirements-sam2.txt' in found and '\n' not in found


# --- configs ---


def test_there_is_a_config_for_each_size_and_task():
    tasks = {f'source_{size}_{task}' for size in 'tsbl' for task in ('cs13', 'sp13', 'spin8')}
    assert {path.stem for path in CONFIGS} == tasks | {'source_toypass', 'source_toypass_19', 'source_b_cs19'}


SIZES_OF = {  # rows and columns of the images that a config is for
    'cityscapes': (1024, 2048), 'synpass': (1024, 2048), 'densepass': (400, 2048), 'toypass_source': (256, 512),
    'toypass': (200, 1024), 'stanford2d3d': (1408, 4096),
}  # fmt: skip


@pytest.mark.parametrize('path', CONFIGS, ids=[path.stem for path in CONFIGS])
def test_the_data_of_a_config_fits_its_model(path):
    config = Config.fromfile(path)
    init_default_scope('mmseg')
    choice = WindowChoice(config.model.grid)
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        entry, space = DATASETS[loader.dataset.name], loader.dataset.label_space
        split = entry.splits[loader.dataset.split]
        encoding = 'stanford13' if entry.name == 'stanford2d3d' else entry.label_encoding
        assert (encoding, space) in REMAPS
        assert len(LABEL_SPACES[space].classes) == config.model.num_classes
        size = (1080, 1080) if split.pinhole and entry.name == 'stanford2d3d' else SIZES_OF[entry.name]
        assert len(choice.over(*size).windows) == (1 if size == (1080, 1080) else 9)
        steps = [TRANSFORMS.build(step) for step in loader.dataset.pipeline]
        assert ('DrawOrder' in {type(step).__name__ for step in steps}) == (loader is config.train_dataloader)
    assert config.test_evaluator.model_space == space
    toy = 'toypass' in path.stem
    assert config.model.step == ('sequence' if toy else 'patch')
    assert config.optim_wrapper.optimizer.lr == (6e-4 if toy else 6e-5)
    assert config.model.weights.startswith(
        'goodsam://toy_sam2' if toy else 'https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_'
    )


# The paper's 72.0 and 209.2 M are units of 2^20, without the memory encoder; ``tau`` and ``nu`` have 832 more.
@pytest.mark.parametrize(('size', 'counted'), [('t', 33_521_965), ('s', 40_644_397), ('b', 75_504_621)])
def test_full_sizes_have_the_papers_number_of_parameters(size, counted):
    pytest.importorskip('sam2')
    config = Config.fromfile(ROOT / f'mmseg_configs/omnisam/source_{size}_cs13.py')
    init_default_scope('mmseg')
    with torch.device('meta'):
        model = MODELS.build({**config.model, 'literal_rows': True})
    counts = {name: value.numel() for name, value in model.named_parameters() if 'memory_encoder' not in name}
    assert sum(counts.values()) == counted + 9 * 64 + 256


def test_the_steps_of_a_pipeline(tmp_path):
    init_default_scope('mmseg')
    rows = np.arange(8, dtype=np.uint8)[:, None].repeat(4, 1)
    results = {
        'img': rows[..., None].repeat(3, 2),
        'gt_seg_map': rows,
        'seg_fields': ['gt_seg_map'],
        'img_path': 'a.png',
    }
    results |= {'pixels': results['img'], 'ori_shape': (8, 4), 'img_shape': (8, 4)}
    crop = TRANSFORMS.build({'type': 'CropRows', 'top': 2, 'bottom': 5})
    cropped = crop.transform({**results, 'seg_fields': ['gt_seg_map']})
    assert cropped['gt_seg_map'][:, 0].tolist() == cropped['img'][:, 0, 0].tolist() == [2, 3, 4]
    assert cropped['ori_shape'] == cropped['img_shape'] == cropped['pixels'].shape[:2] == (3, 4)
    for wrong, message in (((5, 5), 'keeps no row'), ((-1, 5), 'keeps no row'), ((2, 9), r'a\.png has 8 rows')):
        with pytest.raises(ConfigError, match=message):
            TRANSFORMS.build({'type': 'CropRows', 'top': wrong[0], 'bottom': wrong[1]}).transform(dict(results))
    with pytest.raises(ConfigError, match='cannot crop cached masks'):
        crop.transform({**results, 'cached_masks': SimpleNamespace()})
    draw, pack = TRANSFORMS.build({'type': 'DrawOrder'}), TRANSFORMS.build({'type': 'PackPanorama', 'meta_keys': ()})
    np.random.seed(3)  # noqa: NPY002 - as the data set does
    seeds = [pack.transform(draw.transform(dict(results)))['data_samples'].order_seed for _ in range(2)]
    np.random.seed(3)  # noqa: NPY002
    assert seeds[0] != seeds[1] and draw.transform(dict(results))['order_seed'] == seeds[0]
