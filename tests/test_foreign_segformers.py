"""SegFormers of Hugging Face and NVIDIA: the same logits, the same classes, from every place that a config can name."""

import functools
import hashlib
import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import ClassVar

import mmseg
import numpy as np
import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader
from mmseg.registry import MODELS
from safetensors.torch import load_file, save_file
from test_source_training import complaint, load_tool

from stage1_sam_cache.data.label_spaces import LABEL_SPACES
from stage2_distill import components  # noqa: F401
from stage2_distill.checkpoints.fit import check_fit, check_initial_weights
from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint, load_any, use_safe_loaders
from stage2_distill.checkpoints.segformer_names import AUTHORS, HUB, names_of, to_hub, to_mmseg
from stage2_distill.checkpoints.segformer_sizes import SIZES, size_of
from stage2_distill.deployment.export import export_student
from stage2_distill.deployment.student import Student
from stage2_distill.errors import CheckpointError, ConfigError
from stage2_distill.models.segformer import segformer_config

CITYSCAPES = LABEL_SPACES['cityscapes19'].classes
NARROW, HEAD = 8, 24  # channels of the first level and of the head, where only depths matter
B0 = "dict(type='SegFormer', size='b0', layout='authors')"


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch):
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')
    monkeypatch.setenv('GOODSAM_WEIGHTS_DIR', '')
    init_default_scope('mmseg')
    use_safe_loaders()


def theirs(size, narrow=False, classes=CITYSCAPES):
    """Hugging Face's network of a size, whose weights and norms are random."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    width, depths, head = SIZES[size]
    config = SegformerConfig(
        depths=list(depths),
        hidden_sizes=[(NARROW if narrow else width) * heads for heads in (1, 2, 5, 8)],
        decoder_hidden_size=HEAD if narrow else head,
        id2label=dict(enumerate(classes)),
        label2id={name: number for number, name in enumerate(classes)},
    )
    torch.manual_seed(0)
    network = SegformerForSemanticSegmentation(config).eval()
    for name, values in network.state_dict().items():
        if re.search('(batch|layer_?)norm', name.replace('batch_norm', 'batchnorm')) and values.is_floating_point():
            values.uniform_(0.5, 1.5) if not name.endswith(('bias', 'mean')) else values.normal_(std=0.1)
        elif values.is_floating_point():
            values.normal_(std=min(1.0, 1.5 / values[0].numel() ** 0.5) if values.ndim > 1 else 0.1)
    return network


def ours(size, narrow=False, **changes):
    if narrow:
        changes = {'backbone': {'embed_dims': NARROW}, 'decode_head': {'channels': HEAD}, **changes}
    return MODELS.build({'type': 'SegFormer', 'size': size, 'layout': 'authors', **changes}).eval()


@pytest.fixture(scope='module')
def b0():
    return theirs('b0')


@pytest.fixture
def folder(b0, tmp_path):
    """B0 as transformers saves it."""
    b0.save_pretrained(tmp_path / 'b0')
    return tmp_path / 'b0'


def logits(network, image):
    with torch.no_grad():
        return network(image, mode='tensor')


# --- the same network ---


@pytest.mark.parametrize(('size', 'narrow'), [('b0', False), ('b5', True)])
def test_logits_are_those_of_transformers(size, narrow, b0, tmp_path):
    hub = b0 if size == 'b0' else theirs(size, narrow)
    network = ours(size, narrow)
    hub.save_pretrained(tmp_path)
    saved = load_file(tmp_path / 'model.safetensors')
    converted = to_mmseg(saved)
    network.load_state_dict(converted)  # strictly
    for shape in ((97, 130), (64, 93), (33, 161)):
        image = torch.randn(1, 3, *shape)
        with torch.no_grad():
            expected = hub(image).logits
        found = logits(network, image)
        assert expected.std() > 0.1  # or the bound would say nothing
        assert (found - expected).abs().max() < 1e-4, shape
    # As transformers calls the weights in memory, and back again to what it saves.
    in_memory = to_mmseg(hub.state_dict())
    assert all(torch.equal(in_memory[name], value) for name, value in converted.items())
    back = to_hub(network.state_dict())
    assert back.keys() == saved.keys()
    assert all(torch.equal(back[name], value) for name, value in saved.items())


def test_layer_norms_add_what_transformers_adds(b0):
    """With images of little contrast it shows: mmseg's 1e-6 gives other logits."""
    image = torch.randn(1, 3, 64, 64) * 1e-3
    hub = b0.state_dict()
    flat = {name: value * (1e-3 if 'proj.bias' in name and 'patch' in name else 1) for name, value in hub.items()}
    b0.load_state_dict(flat)
    with torch.no_grad():
        expected = b0(image).logits
    b0.load_state_dict(hub)
    differences = []
    for changes in ({}, {'backbone': {'norm_cfg': {'type': 'LN', 'eps': 1e-6}}}):
        network = ours('b0', **changes)
        network.load_state_dict(to_mmseg(flat))
        differences.append(float((logits(network, image) - expected).abs().max()))
    assert differences[0] < 1e-4 < 1e-2 < differences[1]


def authors_names(weights):
    """Hugging Face's file as NVIDIA's own code names it."""
    result = {}
    for given, value in weights.items():
        name = re.sub(r'(?<=[._a-z])\b(\d)\b', r'\1', given)
        name = re.sub(r'^segformer\.encoder\.patch_embeddings\.(\d)\.', lambda m: f'patch_embed{int(m[1]) + 1}.', name)
        name = re.sub(r'^segformer\.encoder\.block\.(\d)\.', lambda m: f'block{int(m[1]) + 1}.', name)
        name = re.sub(r'^segformer\.encoder\.layer_norm\.(\d)\.', lambda m: f'norm{int(m[1]) + 1}.', name)
        name = re.sub(r'^decode_head\.linear_c\.(\d)\.', lambda m: f'decode_head.linear_c{int(m[1]) + 1}.', name)
        for old, new in (
            ('layer_norm_1', 'norm1'), ('layer_norm_2', 'norm2'), ('.attention.output.dense', '.attn.proj'),
            ('.attention.self.query', '.attn.q'), ('.attention.self.sr', '.attn.sr'),
            ('.attention.self.layer_norm', '.attn.norm'), ('.mlp.dense', '.mlp.fc'), ('.layer_norm.', '.norm.'),
            ('linear_fuse.', 'linear_fuse.conv.'), ('batch_norm.', 'linear_fuse.bn.'), ('classifier', 'linear_pred'),
        ):  # fmt: skip
            name = name.replace(old, new)
        if 'self.value' in name:
            continue
        if 'self.key' in name:
            value = torch.cat([value, weights[given.replace('key', 'value')]])
            name = name.replace('.attention.self.key', '.attn.kv')
        result[name if name.startswith('decode_head') else f'backbone.{name}'] = value
    return {**result, 'decode_head.conv_seg.weight': torch.ones(19, 128, 1, 1)}  # which their head has and never uses


def test_nvidias_own_files_are_the_same_network(folder, tmp_path):
    saved = load_file(folder / 'model.safetensors')
    weights = authors_names(saved)
    assert (names_of(saved), names_of(weights), names_of(to_mmseg(saved))) == (HUB, AUTHORS, None)
    expected = to_mmseg(saved)
    torch.save({'state_dict': weights, 'meta': {'CLASSES': CITYSCAPES}}, tmp_path / 'segformer.b0.city.160k.pth')
    loaded = load_any(str(tmp_path / 'segformer.b0.city.160k.pth'))['state_dict']
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())
    # mmseg's own converter, of the backbone alone.
    spec = spec_from_file_location(
        'mit2mmseg', Path(mmseg.__file__).parent / '.mim/tools/model_converters/mit2mmseg.py'
    )
    converter = module_from_spec(spec)
    spec.loader.exec_module(converter)
    backbone = {name.removeprefix('backbone.'): value for name, value in weights.items() if 'backbone.' in name}
    reference = converter.convert_mit(backbone)
    assert len(reference) == 160
    assert all(torch.equal(expected[f'backbone.{name}'], value) for name, value in reference.items())


def test_sizes_are_those_of_the_recipes_and_are_recognised():
    for size in SIZES:
        recipe = Config.fromfile(ROOT / f'mmseg_configs/source/segformer_{size}_cityscapes.py').model
        for part in ('backbone', 'decode_head'):
            stated = {name: value for name, value in segformer_config(size)[part].items() if name in recipe[part]}
            assert stated == {name: recipe[part][name] for name in stated}  # the rest are mmseg's defaults
            assert {'type', 'num_classes' if part == 'decode_head' else 'num_layers'} <= stated.keys()
    # Parameters of Hugging Face's networks, in millions, as transformers counts them.
    for size, expected in (('b0', 3.7), ('b2', 27.4)):
        network, plain = ours(size), MODELS.build({'type': 'SegFormer', 'size': size})
        assert sum(weight.numel() for weight in network.parameters()) / 1e6 == pytest.approx(expected, abs=0.1)
        assert size_of(network.state_dict()) == (size, 'authors')
        assert size_of(plain.state_dict()) == (size, 'mmseg')
    with pytest.raises(ConfigError, match=r"there is no SegFormer 'b6'.*b5"):
        segformer_config('b6')
    with pytest.raises(ConfigError, match="no layout 'nvidia'"):
        segformer_config('b0', 'nvidia')


# --- classes ---


def rename(folder, names):
    config = json.loads((folder / 'config.json').read_text())
    config['id2label'] = {str(number): name for number, name in enumerate(names)}
    (folder / 'config.json').write_text(json.dumps(config))


def test_classes_come_in_our_order_or_are_refused_in_one_line(b0, folder):
    network, image = ours('b0'), torch.randn(1, 3, 64, 64)
    expected = load_any(str(folder))
    network.load_state_dict(expected['state_dict'])
    before = logits(network, image)
    assert tuple(expected['meta']['dataset_meta']['classes']) == CITYSCAPES
    shuffled = list(np.random.default_rng(0).permutation(19))
    rename(folder, [CITYSCAPES[i].title().replace(' ', '_') for i in shuffled])
    network.load_state_dict(load_any(str(folder))['state_dict'])
    assert torch.equal(logits(network, image)[:, shuffled], before)
    with pytest.raises(CheckpointError) as told:
        rename(folder, ['lane', 'sidewalk', *CITYSCAPES[2:]])
        check_fit(network, str(folder))
    text = str(told.value)
    assert '1 of its 19 classes are not those of cityscapes19: 0 is lane and not road; take the backbone alone' in text
    assert '\n' not in text
    network.backbone.init_cfg = {'type': 'Pretrained', 'checkpoint': str(folder), 'prefix': 'backbone.'}
    check_initial_weights(network)  # whose classes do not matter
    network.init_cfg = {'type': 'Pretrained', 'checkpoint': str(folder)}
    with pytest.raises(CheckpointError, match='not those of cityscapes19'):
        check_initial_weights(network)
    rename(folder, [f'LABEL_{i}' for i in range(150)])
    with pytest.raises(CheckpointError, match=r'it has 150 classes \(LABEL_0, LABEL_1, LABEL_2, \.\.\.\), city'):
        check_fit(network, str(folder))
    (folder / 'config.json').write_text('{"id2label": {"1": "road"}}')
    with pytest.raises(CheckpointError, match=r'config\.json is damaged or no config of a network'):
        load_any(str(folder))


# --- from every place that a config can name ---


def test_files_and_folders_are_loaded_as_data(folder, tmp_path):
    expected = load_any(str(folder))['state_dict']
    saved = load_file(folder / 'model.safetensors')
    torch.save(saved, tmp_path / 'pytorch_model.bin')
    torch.save({'state_dict': saved}, tmp_path / 'saved.pth')
    places = [folder / 'model.safetensors', tmp_path, tmp_path / 'pytorch_model.bin', tmp_path / 'saved.pth']
    for place in places:
        for load in (check_checkpoint, functools.partial(CheckpointLoader.load_checkpoint, map_location='cpu')):
            found = load(str(place))['state_dict']
            assert all(torch.equal(found[name], value) for name, value in expected.items()), place
    (tmp_path / 'goodsam.py').write_text(
        f"_base_ = '{ROOT}/mmseg_configs/goodsam_b0_nvidia.py'\nmodel = dict(student=dict(init_cfg=None))\n"
    )
    student = Student.load(str(tmp_path / 'goodsam.py'), str(folder))  # as predict.py and export_student.py
    assert student.classes == list(CITYSCAPES)
    # Exported for mmseg without this project, it has mmseg's own head and the same logits.
    export_student(str(tmp_path / 'goodsam.py'), str(folder), tmp_path / 'out/student.safetensors')
    plain = Config.fromfile(tmp_path / 'out/student_mmseg.py')
    assert (plain.get('custom_imports'), plain.model.decode_head.type) == (None, 'SegformerHead')
    network = MODELS.build(plain.model).eval()
    network.load_state_dict(check_checkpoint(str(tmp_path / 'out/student.pth'))['state_dict'])
    image = torch.randn(1, 3, 64, 96)
    assert (logits(network, image) - logits(student.network, image)).abs().max() < 1e-4
    for content, expected_text in (
        ({**saved, 'x': Path.cwd}, 'more than weights'),
        ({name: value for name, value in saved.items() if 'key' not in name}, 'has no key or value beside it'),
    ):
        torch.save(content, tmp_path / 'pytorch_model.bin')
        with pytest.raises(CheckpointError, match=expected_text):
            load_any(str(tmp_path))
    (tmp_path / 'pytorch_model.bin').unlink()
    with pytest.raises(CheckpointError, match=r'is a folder without model\.safetensors or pytorch_model\.bin'):
        load_any(str(tmp_path))


def test_a_config_of_another_size_or_layout_says_which_would_fit(folder):
    for wrong in ({'size': 'b1', 'layout': 'authors'}, {'size': 'b0'}):
        network = MODELS.build({'type': 'SegFormer', **wrong})
        with pytest.raises(CheckpointError) as told:
            check_fit(network, str(folder))
        assert f'these are the weights of {B0}' in str(told.value)


class Hub(BaseHTTPRequestHandler):
    """As much of Hugging Face's hub as a download needs: files of one commit, with their digests."""

    files: ClassVar[dict[str, bytes]] = {}
    digest = None  # instead of the true one

    def do_HEAD(self):
        name = self.path.split('?')[0]
        content = self.files.get(name)
        self.send_response(404 if content is None else 200)
        if content is None:
            self.send_header('X-Error-Code', 'EntryNotFound' if '/resolve/' in name else 'RepoNotFound')
            content = b''
        else:
            self.send_header('X-Repo-Commit', 'c' * 40)
            self.send_header('ETag', f'"{self.digest or hashlib.sha256(content).hexdigest()}"')
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        if self.command == 'GET':
            self.wfile.write(content)

    do_GET = do_HEAD

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(folder, tmp_path, monkeypatch):
    """A hub with one repository, as NVIDIA's are: a pickle of weights, a config, and a revision of its own."""
    torch.save(load_file(folder / 'model.safetensors'), tmp_path / 'x.bin')
    weights, config = (tmp_path / 'x.bin').read_bytes(), (folder / 'config.json').read_bytes()
    Hub.files = {}
    for revision in ('main', 'v1'):
        start = f'/nvidia/segformer-b0/resolve/{revision}'
        Hub.files |= {f'{start}/pytorch_model.bin': weights, f'{start}/config.json': config}
    server = ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f'http://127.0.0.1:{server.server_port}'
    for name, value in {  # as HF_ENDPOINT and HF_HOME set them
        'ENDPOINT': address,
        'HUGGINGFACE_CO_URL_TEMPLATE': address + '/{repo_id}/resolve/{revision}/{filename}',
        'HF_HUB_CACHE': str(tmp_path / 'cache'),
    }.items():
        monkeypatch.setattr(f'huggingface_hub.constants.{name}', value)
    yield address
    server.shutdown()
    server.server_close()


def test_weights_come_from_the_hub_once_and_are_converted_both_ways(hub, folder, tmp_path, monkeypatch, capsys):
    out, back = tmp_path / 'b0.safetensors', tmp_path / 'back'
    convert = load_tool('convert_weights').main
    assert convert(['hf:nvidia/segformer-b0@v1', str(out)]) == 0
    line = "in a config: dict(_delete_=True, type='SegFormer', size='b0', layout='authors', init_cfg=dict(type='Pret"
    assert capsys.readouterr().out.startswith(f'{out}\n{line}')
    expected = load_any(str(folder))
    found = load_any(str(out))
    assert all(torch.equal(found['state_dict'][name], value) for name, value in expected['state_dict'].items())
    assert found['meta'] == expected['meta']
    Hub.files = {}  # offline, as a machine that computes may be
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    assert convert(['hf:nvidia/segformer-b0@v1', str(back)]) == 0
    saved, again = load_file(folder / 'model.safetensors'), load_file(back / 'model.safetensors')
    assert all(torch.equal(again[name], value) for name, value in saved.items())
    from transformers import SegformerForSemanticSegmentation

    network = SegformerForSemanticSegmentation.from_pretrained(back)
    assert list(network.config.id2label.values()) == list(CITYSCAPES)
    loaded = to_hub(to_mmseg(network.state_dict()))
    assert all(torch.equal(loaded[name], value) for name, value in saved.items())


def test_what_was_tried_is_one_line(hub, tmp_path, monkeypatch, capsys):
    own = tmp_path / 'own'
    own.mkdir()
    monkeypatch.setenv('GOODSAM_WEIGHTS_DIR', str(own))
    with pytest.raises(CheckpointError) as told:
        load_any('hf:nvidia/segformer-b7')
    text = str(told.value)
    assert f'tried: {own}/nvidia/segformer-b7 (no model.safetensors or pytorch_model.bin there), {hub} (' in text
    assert '--weights-dir' in text
    assert '\n' not in text
    with pytest.raises(CheckpointError, match='is no repository of Hugging Face; write hf:ORG/NAME'):
        load_any('hf:segformer')
    monkeypatch.setattr(Hub, 'digest', 'f' * 64)
    with pytest.raises(CheckpointError, match=r'has the SHA-256 .*, published is ffffffff'):
        load_any('hf:nvidia/segformer-b0')
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(CheckpointError, match=r'huggingface_hub \(not installed\); pip install huggingface_hub, or'):
        load_any('hf:nvidia/segformer-b0')
    # A folder of the user's needs neither library nor network.
    (own / 'nvidia/segformer-b0').mkdir(parents=True)
    for name in ('pytorch_model.bin', 'config.json'):
        (own / 'nvidia/segformer-b0' / name).write_bytes(Hub.files[f'/nvidia/segformer-b0/resolve/main/{name}'])
    assert load_any('hf:nvidia/segformer-b0')['meta']['dataset_meta']['classes'] == list(CITYSCAPES)
    convert = load_tool('convert_weights')
    assert convert.main(['hf:nvidia/segformer-b0', str(tmp_path / 'x.safetensors'), '--weights-dir', str(own)]) == 0
    assert "size='b0', layout='authors'" in capsys.readouterr().out
    mmsegs = MODELS.build({'type': 'SegFormer', 'size': 'b0'}).state_dict()
    save_file({name: value.contiguous() for name, value in mmsegs.items()}, tmp_path / 'mmseg.safetensors')
    refused = complaint('convert_weights', monkeypatch, tmp_path / 'mmseg.safetensors', tmp_path / 'hub')
    assert "decode_head.convs.0.bn.bias has no place in a SegFormer of Hugging Face); mmseg's own" in refused
    assert not (tmp_path / 'hub').exists()
