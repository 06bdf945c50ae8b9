"""The adaptation as a segmentor and as a data set: its losses, the anchor, paired samples, stored labels, the guard."""

import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS as MMSEG_DATASETS
from mmseg.registry import HOOKS, MODELS, RUNNERS
from test_omnisam_model import CLASSES, GRID, batch, optimizer

from stage1_sam_cache.data.catalog import DATASETS
from stage1_sam_cache.data.label_spaces import LABEL_SPACES
from stage1_sam_cache.errors import ImageError
from stage1_sam_cache.system import interruption
from stage2_distill.checkpoints.fit import check_fit
from stage2_distill.data.sampler import Draw
from stage2_distill.errors import CheckpointError, ConfigError, Stage2Error, TrainingError
from stage2_distill.omnisam import registered  # noqa: F401
from stage2_distill.omnisam.labelling import LabelSettings, label_panorama
from stage2_distill.omnisam.merging import merge
from stage2_distill.omnisam.paired_dataset import PairedDraw, TargetRound
from stage2_distill.omnisam.prediction import PredictionSettings, window_predictions
from stage2_distill.omnisam.prototypes import sum_features
from stage2_distill.omnisam.pseudo_labels import RoundStore
from stage2_distill.omnisam.round_guard import RoundGuard
from stage2_distill.omnisam.window_choice import WindowChoice

# Without adapt_toypass_ctcf.py, which changes labels alone.
CONFIGS = sorted(
    path for path in (ROOT / 'mmseg_configs/omnisam').glob('adapt_*.py') if path.stem != 'adapt_toypass_ctcf'
)
SHAPE = (3, CLASSES)


def build(**settings):
    pytest.importorskip('sam2')
    init_default_scope('mmseg')
    torch.manual_seed(0)
    base = {'size': 'toy', 'num_classes': CLASSES, 'grid': GRID, 'patch_size': 64, 'memory_slots': 2}
    preprocessor = {'type': 'PairedPreProcessor', 'size_divisor': 1}
    base |= {'prototypes': {'positions': 3}, 'data_preprocessor': preprocessor}
    model = MODELS.build({'type': 'AdaptedOmniSAM', **base, **settings})
    model.init_weights()
    model.set_anchor()
    return model


def paired(sources=1, **widths):
    """A batch of two samples, as the loader gives it; the target is as high, and as wide as is said."""
    source = [batch(10 + 2 * i, 11 + 2 * i, width=widths.get('source', 128)) for i in range(sources)]
    return {'source': source, 'target': batch(20, 21, width=widths.get('target', 128))}


def prepared(model, data):
    return model.data_preprocessor(data, True).values()


# --- losses ---


def test_the_losses_are_those_of_both_domains_and_of_the_anchors_prototypes():
    model = build(target_weight=0.5, fpa_weight=2.0, reverse=0.5).eval()
    with torch.no_grad():  # away from the anchor
        model.head.fuse.weight += 0.01 * torch.randn_like(model.head.fuse.weight)
    data = paired()
    data['target']['data_samples'][0].gt_sem_seg.data[..., 90:] = 255
    inputs, samples = prepared(model, data)
    found = model.loss(inputs, samples)
    expected, sums = {}, {}
    for name, network in (('source', model), ('target', model), ('anchor', model.anchor)):
        domain = 'target' if name == 'target' else 'source'
        patches, labels, windows = model.training_patches(inputs[domain], samples[domain])
        entries, losses, totals = [], [], []
        for step in range(3):
            features = network.encoder(patches[:, step])
            g, logits = network.see(features, entries[-2:])
            entries.append(network.remember(features, logits))
            losses.append(F.cross_entropy(logits, labels[:, step], ignore_index=255))
            totals.append(sum_features(g, labels[:, step], windows[:, step], SHAPE))
        expected[name] = torch.stack(losses).mean()
        sums[name] = [sum(each[i] for each in totals) for i in (0, 1)]
    torch.testing.assert_close(found['loss_source'], expected['source'])
    torch.testing.assert_close(found['loss_target'], 0.5 * expected['target'])
    means = {name: total / count.clamp(min=1)[..., None] for name, (total, count) in sums.items()}
    both = (sums['target'][1] > 0) & (sums['anchor'][1] > 0)
    torch.testing.assert_close(found['loss_fpa'], 2 * (means['target'] - means['anchor'])[both].square().mean())
    torch.testing.assert_close(model.prototypes.means, means['anchor'])
    assert not torch.equal(means['anchor'], means['source']) and found['loss_fpa'] > 0
    labelled = [(each.gt_sem_seg.data < 255).float().mean() for each in data['target']['data_samples']]
    assert labelled[0] < found['labelled'] < 1


def test_a_step_per_patch_is_the_step_per_sequence_for_sequences_of_one():
    weights = []
    for step in ('patch', 'sequence'):
        model = build(step=step, prototypes={'positions': 1}).train()
        torch.manual_seed(1)  # of the dropout
        log = model.train_step(paired(source=64, target=64), optimizer(model))
        assert {'loss', 'loss_source', 'loss_target', 'loss_fpa', 'acc_target', 'labelled'} <= set(log)
        weights.append(model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.parametrize('step', ['patch', 'sequence'])
def test_domains_may_have_different_numbers_of_windows(step):
    data = paired(source=64, sources=3)
    model = build(step=step, prototypes={'positions': 3, 'index': 'step'}).train()
    inputs, samples = prepared(model, data)
    source, target = model.domains(inputs, samples).values()
    assert (source.slots, target.slots) == (0, 2) and len(source) == len(target) == 3
    for place, part in enumerate(data['source']):  # a step is an image of its own
        alone = model.training_patches(torch.stack(part['inputs']), part['data_samples'])
        assert torch.equal(source.at(place)[1], alone.labels[:, 0])
    assert torch.isfinite(model.train_step(data, optimizer(model))['loss'])
    assert model.prototypes.counts.any(1).all()
    one = paired(source=64)
    model = build(step=step, prototypes={'index': 'class'}).train()
    assert torch.isfinite(model.train_step(one, optimizer(model))['loss'])
    assert model.prototypes.counts.shape[0] == 1 and model.prototypes.counts.any()
    with pytest.raises(ConfigError, match=r"index='window' compares equal places, but source images have 1 windows"):
        build(step=step).train_step(one, optimizer(model))
    with pytest.raises(ConfigError, match=r'model\.prototypes\.positions=2, and there are 3 steps'):
        build(prototypes={'index': 'step', 'positions': 2}).train_step(paired(), optimizer(model))


@pytest.mark.parametrize('kept', (True, False))
def test_batch_norm_keeps_the_source_models_statistics_unless_told_otherwise(kept):
    model = build() if kept else build(norm_eval=False)
    norm, before = model.head.norm, copy.deepcopy(model.head.norm.state_dict())
    model.train()
    model.train_step(paired(), optimizer(model))
    assert model.training and model.head.dropout.training and norm.training != kept
    assert torch.equal(norm.running_mean, before['running_mean']) == kept
    assert torch.equal(norm.running_var, before['running_var']) == kept
    assert not torch.equal(norm.weight, before['weight'])  # it is trained in both


def test_weights_grow_with_the_iterations_and_0_switches_the_anchor_off():
    model = build(ramp={'target': (0, 10), 'fpa': [10, 20]}, target_weight=2.0).eval()
    inputs, samples = prepared(model, paired())
    hub = MessageHub.get_current_instance()
    found = {}
    for iteration in (0, 5, 15, 30):
        hub.update_info('iter', iteration)
        model.prototypes.counts.zero_()
        found[iteration] = model.loss(inputs, samples)
    hub.update_info('iter', 0)
    full = found[30]
    for iteration, target, fpa in ((0, 0, 0), (5, 0.5, 0), (15, 1, 0.5)):
        torch.testing.assert_close(found[iteration]['loss_target'], target * full['loss_target'])
        torch.testing.assert_close(found[iteration]['loss_fpa'], fpa * full['loss_fpa'])
    off = build(fpa_weight=0.0)
    off._anchor.clear()
    assert 'loss_fpa' not in off.loss(inputs, samples)
    with pytest.raises(Stage2Error, match='has no anchor'):
        _ = off.anchor
    weighted = build(source_loss={'type': 'CrossEntropyLoss', 'loss_weight': 2.0}).eval()
    torch.testing.assert_close(weighted.loss(inputs, samples)['loss_source'], 2 * full['loss_source'])


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'target_weight': -1}, r'model\.target_weight=-1'),
        ({'fpa_weight': float('nan')}, r'model\.fpa_weight=nan'),
        ({'ramp': {'source': (0, 1)}}, r'model\.ramp='),
        ({'ramp': {'fpa': (3, 3)}}, r'model\.ramp='),
        ({'size': 'x'}, "OmniSAM has no size 'x'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        build(**settings)


# --- the anchor ---


def test_the_anchor_is_no_part_of_the_model_and_stays_as_it_is():
    model = build().train()
    names, before = set(model.state_dict()), copy.deepcopy(model.anchor.state_dict())
    assert not any('anchor' in name for name in names) and len(list(model.modules())) > 10
    wrapper = optimizer(model, lr=0.1)
    ours = {id(value) for group in wrapper.optimizer.param_groups for value in group['params']}
    shared = [value for value in model.anchor.parameters() if id(value) in {id(own) for own in model.parameters()}]
    assert not {id(value) for value in model.anchor.parameters()} & ours
    assert shared and not any(value.requires_grad for value in model.anchor.parameters())
    model.train_step(paired(), wrapper)
    assert not model.anchor.training and model.training
    assert all(torch.equal(value, before[name]) for name, value in model.anchor.state_dict().items())
    weights = model.anchor_weights()
    assert {'head.norm.running_mean', 'memory.tau'} <= set(weights) and len(weights) < len(names)
    model.set_anchor()  # of what was trained
    assert not torch.equal(model.anchor.state_dict()['head.fuse.weight'], before['head.fuse.weight'])
    model.set_anchor(weights)
    assert all(torch.equal(value, before[name]) for name, value in model.anchor.state_dict().items())
    with pytest.raises(CheckpointError, match=r'the anchor has no memory\.tau of this shape'):
        model.set_anchor({name: value for name, value in weights.items() if name != 'memory.tau'})


# --- labels ---


def test_labels_of_a_panorama_are_those_of_the_rule():
    model = build().eval()
    image, sample = torch.rand(1, 3, 64, 128), batch(0)['data_samples'][0]
    grid = model.windows.over(64, 128)
    for rule, threshold in (('unanimous', 0.01), ('vote', None), ('mean', 0.2), ('sum', 0.3)):
        for laps in ('forward', 'both'):
            found = label_panorama(model, image, sample, LabelSettings(rule, threshold, laps))
            predictions = window_predictions(model, image, grid, PredictionSettings(laps=laps))
            expected = merge(predictions, grid, rule, threshold)
            assert torch.equal(found.labels, expected.labels) and torch.equal(found.confidence, expected.confidence)
    for wrong, message in (
        ({'rule': 'x'}, r"labelling\.rule='x'; give one of unanimous, vote, mean, sum"),
        ({'laps': 'x'}, r"labelling\.laps='x'"),
        ({'threshold': 'x'}, r"labelling\.threshold='x'"),
        ({'lap': 'both'}, r'labelling has no lap; it has rule, threshold, laps'),
    ):
        with pytest.raises(ConfigError, match=message):
            LabelSettings.of(wrong)


ABOUT = {'model': 'a', 'labelling': {'rule': 'vote'}, 'classes': ['x', 'y'], 'images': ['street/1', '2']}


def test_stored_labels_are_kept_while_the_manifest_agrees(tmp_path):
    store = RoundStore.of_round(tmp_path, 3)
    store.begin(ABOUT)
    assert store.folder == tmp_path / 'pseudo_labels/round_3' and store.missing() == ABOUT['images']
    labels = np.array([[0, 1, 255], [1, 1, 255]], np.uint8)
    store.write('street/1', labels)
    store.begin(ABOUT)
    assert store.missing() == ['2'] and (store.read('street/1', (2, 3), 2) == labels).all()
    with pytest.raises(TrainingError, match=r'round_3 lacks the labels of 1 images, such as 2; copy the folder'):
        store.check_complete(ABOUT)
    store.write('2', np.zeros((2, 3), np.uint8))
    done = store.finish()
    assert done['coverage'] == 10 / 12 and done['class_shares'] == {'x': 7 / 10, 'y': 3 / 10}
    store.check_complete(ABOUT)
    store.begin(ABOUT)
    assert store.missing() == [] and store.manifest() == done == store.finish()
    (tmp_path / 'pseudo_labels/round_3/.tmp-x-1-y').touch()
    for change in ({'model': 'b'}, {'labelling': {'rule': 'sum'}}, {'images': ['2', 'street/1']}):
        with pytest.raises(TrainingError, match="does not have this run's labels"):
            store.check_complete({**ABOUT, **change})
        store.write('2', labels)
        store.begin({**ABOUT, **change})
        assert sorted(store.missing()) == ['2', 'street/1'] and 'coverage' not in store.manifest()
    with pytest.raises(TrainingError, match=r'2\.png is missing'):
        store.read('2', (2, 3))
    store.write('2', labels)
    with pytest.raises(ImageError, match='for an image of'):
        store.read('2', (3, 3))
    with pytest.raises(ImageError, match='ids 1 are none of the 1 classes'):
        store.read('2', (2, 3), 1)
    (store.folder / 'manifest.json').write_text('{')
    assert store.manifest() == {}


# --- paired samples ---


@pytest.fixture
def dataset(tiny_toypass):
    init_default_scope('mmseg')
    config = Config.fromfile(ROOT / 'mmseg_configs/omnisam/adapt_toypass.py').train_dataloader.dataset
    for name in ('source', 'target'):
        config[name].root = str(tiny_toypass[0] / name)
    return MMSEG_DATASETS.build({**config, 'source_images': 2})


def test_a_sample_has_source_images_and_an_image_of_the_round_with_its_pseudo_label(dataset, tmp_path):
    with pytest.raises(ConfigError, match='is in no round; add PseudoLabelRoundHook'):
        dataset[PairedDraw(0, 1, 0)]
    store, ids = RoundStore(tmp_path), dataset.target_ids()
    turn = TargetRound(1, 7, [3, 1], first_draw=10, store=store)
    for number, image_id in enumerate(ids):
        store.write(image_id, np.full((100, 512), number, np.uint8))
    dataset.begin_round(turn)
    samples = [dataset[PairedDraw(2, 5, number)] for number in (10, 11, 12, 13)]
    targets = [each['target']['data_samples'] for each in samples]
    assert [each.image_id for each in targets[:2]] == [ids[3], ids[1]]
    assert {each.image_id for each in targets[2:]} == {ids[3], ids[1]}
    assert [int(each.gt_sem_seg.data.unique()) for each in targets[:2]] == [3, 1]
    first = samples[0]['source'][0]
    own = dataset.source[Draw(2, 5)]
    assert torch.equal(first['inputs'], own['inputs']) and len(samples[0]['source']) == 2
    assert first['data_samples'].order_seed == own['data_samples'].order_seed
    seeds = [first, samples[0]['source'][1], samples[0]['target'], dataset[PairedDraw(2, 6, 10)]['target']]
    assert len({each['data_samples'].order_seed for each in seeds}) == 4
    packed = dataset.unlabelled([ids[2]])[0]
    assert packed['data_samples'].image_id == ids[2] and 'gt_sem_seg' not in packed['data_samples']
    data = MODELS.build({'type': 'PairedPreProcessor', 'size_divisor': 1})(pseudo_collate(samples[:3]), True)
    assert data['inputs']['source'].shape == (6, 3, 128, 256) and data['inputs']['target'].shape == (3, 3, 100, 512)
    assert [len(each) for each in data['data_samples'].values()] == [6, 3]
    assert torch.equal(data['inputs']['source'][0], own['inputs'].float()) and dataset.metainfo['classes'][0] == 'road'


def test_data_sets_that_make_no_pair_are_refused(tiny_toypass):
    init_default_scope('mmseg')
    config = Config.fromfile(ROOT / 'mmseg_configs/omnisam/adapt_toypass.py').train_dataloader.dataset
    for name in ('source', 'target'):
        config[name].root = str(tiny_toypass[0] / name)
    for change, message in (
        ({'source_images': 0}, 'source_images=0 of a PairedDataset'),
        ({'target': {**config.target, 'label_space': 'cityscapes19'}}, 'has 13 classes, the target other ones'),
        ({'target': {**config.target, 'pipeline': [{'type': 'LoadPanorama'}]}}, 'loads no pseudo-labels'),
    ):
        with pytest.raises(ConfigError, match=message):
            MMSEG_DATASETS.build({**config, **change})


# --- the guard ---


def test_the_guard_warns_once_and_only_when_labels_drift(tmp_path):
    lines, warnings, scalars = [], [], {}
    classes = ('road', 'wall', 'car')
    packed = {'inputs': torch.zeros(3, 64, 128), 'data_samples': batch(0)['data_samples'][0]}
    dataset = SimpleNamespace(
        metainfo={'classes': classes}, target_ids=lambda: ['a', 'b'], unlabelled=lambda ids: [packed for _ in ids]
    )
    runner = SimpleNamespace(
        work_dir=str(tmp_path),
        iter=4,
        train_dataloader=SimpleNamespace(dataset=dataset),
        logger=SimpleNamespace(info=lines.append, warning=warnings.append),
        visualizer=SimpleNamespace(add_scalars=lambda values, step: scalars.update(values)),
    )
    (tmp_path / 'pseudo_labels').mkdir()

    class Network(torch.nn.Module):
        """Says ``label`` of the left half and car of the right."""

        label, memory_slots, patch_size, windows = 0, 0, 64, WindowChoice({'window': (64, 64), 'stride': 64})

        def data_preprocessor(self, data, training):
            return {**data, 'inputs': torch.stack(data['inputs'])}

        def extract_feat(self, patches):
            self.seen = 0 if not hasattr(self, 'seen') else self.seen + 1
            return self.seen % 2

        def see(self, features, entries):
            logits = torch.zeros(1, 3, 64, 64)
            logits[:, self.label if features == 0 else 2] = 9
            return None, logits

        def remember(self, features, logits):
            return None

    network = Network()
    manifest = {'coverage': 0.5, 'class_shares': {'road': 0.5, 'wall': 0.0, 'car': 0.5}, 'images': ['a', 'b']}
    guard = RoundGuard(panoramas=2)
    guard.look(runner, network, 0, manifest, LabelSettings())
    assert scalars == {'label_coverage': 0.5, 'label_share/road': 0.5, 'label_share/wall': 0, 'label_share/car': 0.5}
    guard.look(runner, network, 1, manifest, LabelSettings())
    assert scalars['label_agreement'] == 1 and not warnings and lines[0].startswith('labels, round 0: 50.0% of the')
    network.label = 1
    for number in (2, 3):
        guard.look(runner, network, number, manifest, LabelSettings())
    assert scalars['label_agreement'] == 0.5 and len(warnings) == 1
    assert 'labels drift by round 2' in warnings[0] and 'road fell from 50.00% to 0.00%' in warnings[0]
    (tmp_path / 'pseudo_labels/start_labels.safetensors').unlink()
    guard.look(runner, network, 4, manifest, LabelSettings())
    assert 'is missing or damaged: from here on' in warnings[1] and len(warnings) == 2
    with pytest.raises(ValueError, match='bounds are from 0 to 1'):
        RoundGuard(kept=2)


# --- the rounds of a run ---


class Run:
    """What the hook needs of a runner, over four panoramas."""

    def __init__(self, folder, dataset, model, max_iters=6):
        self.work_dir, self.model, self.seed, self.iter, self.max_iters = str(folder), model, 3, 0, max_iters
        self.train_dataloader = SimpleNamespace(dataset=dataset, batch_size=1, num_workers=0)
        self.positions, self.message_hub = [], MessageHub(folder.name)
        self.train_loop = SimpleNamespace(dataloader_iterator=SimpleNamespace(skip_iter=self.positions.append))
        self.optim_wrapper = optimizer(model)
        self.logger = SimpleNamespace(info=lambda line: None, warning=lambda line: None)
        self.visualizer = SimpleNamespace(add_scalars=lambda values, step: None)

    def step(self, hook):
        """An iteration that changes the model."""
        with torch.no_grad():
            self.model.head.classify.bias += torch.arange(13.0)
        self.optim_wrapper.optimizer.state['filled'] = True
        hook.after_train_iter(self, 0)
        self.iter += 1

    def manifest(self, number):
        return RoundStore.of_round(self.work_dir, number).manifest()


@pytest.fixture
def run(dataset, tmp_path):
    grid = [{'window': (128, 256), 'stride': 256}, {'window': (100, 256), 'stride': 256}]
    model = build(num_classes=13, grid=grid, prototypes={'index': 'class'}).train()
    return Run(tmp_path, dataset, model)


ROUNDS = {'first': 2, 'later': 1, 'first_iters': 2, 'iters_per_round': 1, 'labelling': {'threshold': 0.0}}


def hook_of(**settings):
    return HOOKS.build({'type': 'PseudoLabelRoundHook', 'guard': {'panoramas': 0}, **ROUNDS, **settings})


def test_rounds_begin_where_they_should_and_each_has_the_model_of_then(run):
    hook = hook_of(reset_optimizer=(0,), rounds=3)
    hook.before_train(run)
    resets = []
    while run.iter < run.max_iters:
        run.step(hook)
        resets.append('filled' not in run.optim_wrapper.optimizer.state)
    # Rounds from iterations 0, 2 and 3; the third has no end. Only after round 0 the optimizer forgets.
    assert run.positions == [0, 2, 3] and resets == [False, True, False, False, False, False]
    manifests = [run.manifest(number) for number in range(3)]
    assert len({each['model'] for each in manifests}) == 3 and run.manifest(3) == {}
    images = [image for each in manifests for image in each['images']]
    assert len(images) == 4 == len(set(images))
    assert run.model.training and not run.model.anchor.training
    digest = run.message_hub.get_info('label_model_sha256')
    assert digest == manifests[2]['model']


def test_static_labels_are_the_source_models(run):
    hook = hook_of(relabel=False)
    hook.before_train(run)
    for _ in range(3):
        run.step(hook)
    assert run.positions == [0, 2, 3]
    assert len({run.manifest(number)['model'] for number in range(3)}) == 1
    run.iter = 3  # resumed, where the round begins
    hook.before_train(run)
    assert run.manifest(2)['model'] == run.manifest(0)['model']


def test_a_resumed_run_has_its_anchor_or_says_what_is_lost(run):
    hook = hook_of()
    hook.before_train(run)
    weights = run.model.anchor_weights()
    for _ in range(3):
        run.step(hook)
    run.iter, run.max_iters = 6, 6  # a finished run labels nothing
    again = hook_of()
    again.before_train(run)
    assert all(torch.equal(value, weights[name]) for name, value in run.model.anchor_weights().items())
    assert run.manifest(5) == {} and run.positions == [0, 2, 3]
    run.iter = 1  # in the middle of round 0, whose labels no model can make any more
    run.message_hub.update_info('label_model_sha256', run.manifest(0)['model'])
    again.before_train(run)
    assert run.positions == [0, 2, 3, 1]
    next(Path(run.work_dir, 'pseudo_labels/round_0').rglob('*.png')).unlink()
    with pytest.raises(TrainingError, match='round_0 lacks the labels of 1 images, such as'):
        again.before_train(run)
    run.message_hub.update_info('anchor_sha256', 'x')
    with pytest.raises(TrainingError, match=r'anchor\.safetensors is not the source model that this run began with'):
        again.before_train(run)
    Path(run.work_dir, 'anchor.safetensors').write_bytes(b'x')
    with pytest.raises(TrainingError, match=r'anchor\.safetensors, the source model of this run, cannot be read'):
        again.before_train(run)


def test_a_signal_ends_the_labelling_and_what_is_there_is_kept(run, monkeypatch):
    hook = hook_of()
    monkeypatch.setattr(interruption, 'stopping', lambda: True)
    with pytest.raises(KeyboardInterrupt, match='labels that are there are kept; the same command goes on from there'):
        hook.before_train(run)
    store = RoundStore.of_round(run.work_dir, 0)
    assert len(store.missing()) == 1
    monkeypatch.undo()
    hook.before_train(run)
    assert store.missing() == [] and run.positions == [0]
    run.message_hub.update_info('last_ckpt', 'work/iter_2.pth')
    run.step(hook)
    monkeypatch.setattr(interruption, 'stopping', lambda: True)
    with pytest.raises(KeyboardInterrupt, match='the same command with --resume goes on'):
        run.step(hook)
    run.message_hub.update_info('last_ckpt', 'work/iter_1.pth')
    hook.after_train_iter(run, 0)  # nothing that was trained is given up
    assert run.positions == [0, 2]


# --- configs ---


def test_there_is_an_adaptation_for_each_source():
    sources = {path.stem.replace('source', 'adapt') for path in CONFIGS[0].parent.glob('source_*.py')}
    sources -= {'adapt_b_cs19', 'adapt_toypass_19'}  # the paper's tasks have 13 and 8 classes
    assert {path.stem for path in CONFIGS} == sources and len(sources) == 13


@pytest.mark.parametrize('path', CONFIGS, ids=[path.stem for path in CONFIGS])
def test_an_adaptation_fits_the_source_model_that_it_names(path):
    config = Config.fromfile(path)
    source = Config.fromfile(path.with_name(path.name.replace('adapt', 'source')))
    init_default_scope('mmseg')
    same = (
        'size',
        'num_classes',
        'grid',
        'patch_size',
        'rank',
        'literal_rows',
        'memory_slots',
        'mask_input',
        'test_cfg',
    )
    assert {name: config.model[name] for name in same} == {name: source.model[name] for name in same}
    assert config.model.get('weights') is None and config.runner_type == 'AdaptationRunner'
    pair = config.train_dataloader.dataset
    assert pair.source.name == source.train_dataloader.dataset.name
    assert pair.source.split == source.train_dataloader.dataset.split
    assert pair.target.name == config.test_dataloader.dataset.name == source.test_dataloader.dataset.name
    assert config.test_dataloader == source.test_dataloader or path.stem == 'adapt_toypass'
    for name in (pair.source.label_space, pair.target.label_space):
        assert len(LABEL_SPACES[name].classes) == config.model.num_classes
    assert pair.target.split in DATASETS[pair.target.name].splits and not pair.target.labelled
    assert not config.train_dataloader.persistent_workers
    hook = HOOKS.build(copy.deepcopy(config.default_hooks.rounds))
    rounds = hook.settings.round_at(config.train_cfg.max_iters - 1) + 1
    assert rounds == (5 if path.stem == 'adapt_toypass' else 9) and hook.labelling == LabelSettings()
    images = hook.settings.first + (rounds - 1) * hook.settings.later
    assert images == config.train_cfg.max_iters * config.train_dataloader.batch_size  # each once
    interval = config.default_hooks.checkpoint.interval
    assert all(hook.settings.start_of(number) % interval == 0 for number in range(rounds))


def test_a_source_model_fits_its_adaptation():
    pytest.importorskip('sam2')
    init_default_scope('mmseg')
    with torch.device('meta'):
        source, adapted = (
            MODELS.build(Config.fromfile(CONFIGS[0].with_name(f'{stage}_t_spin8.py')).model)
            for stage in ('source', 'adapt')
        )
    shapes = {name: value.shape for name, value in source.state_dict().items()}
    completed = adapted.complete(source.state_dict())
    assert {name: value.shape for name, value in completed.items()} == {
        name: value.shape for name, value in adapted.state_dict().items()
    }
    assert set(completed) - set(shapes) == {'prototypes.means', 'prototypes.counts'}
    assert adapted.prototypes.means.shape == (1, 8, 256)


def test_sam_2_itself_is_no_source_model():
    model = build()
    with pytest.raises(
        CheckpointError,
        match=r'^checkpoint goodsam://\S+: these weights are SAM 2 itself.*; train one with a config source_',
    ):
        check_fit(model, 'goodsam://toy_sam2.safetensors', starts=True)
    with pytest.raises(CheckpointError, match='are SAM 2 itself'):  # as it is published
        model.complete({'model': {'image_encoder.neck': torch.zeros(1)}})


def test_what_would_fail_late_is_said_first():
    config = Config.fromfile(CONFIGS[0])
    with pytest.raises(ConfigError, match='none is given; train one with a config source_'):
        RUNNERS.build(config)
    config.load_from, config.train_dataloader.persistent_workers = 'source.pth', True
    with pytest.raises(ConfigError, match=r'set train_dataloader\.persistent_workers=False'):
        RUNNERS.build(config)


def test_a_hook_with_another_model_is_refused(tmp_path):
    hook = HOOKS.build({'type': 'PseudoLabelRoundHook'})
    runner = SimpleNamespace(model=torch.nn.Identity(), train_dataloader=SimpleNamespace(dataset=[]))
    with pytest.raises(ConfigError, match='needs the model AdaptedOmniSAM and a PairedDataset'):
        hook.before_train(runner)
