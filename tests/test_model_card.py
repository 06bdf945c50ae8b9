"""The card of an exported student, and its way to a hub: a stub of Hugging Face's that keeps what it is sent."""

import base64
import hashlib
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from conftest import ROOT
from huggingface_hub import ModelCard
from mmengine.config import Config
from test_source_training import load_tool

from stage1_sam_cache.data.label_spaces import LABEL_SPACES
from stage2_distill.checkpoints.safetensors_files import load_safetensors
from stage2_distill.errors import ConfigError
from stage2_distill.report.model_card import model_card
from stage2_distill.report.provenance import UNKNOWN, licence_of, provenance_of

TOKEN = 'hf_written'
FINGERPRINT = '0123456789abcdef'
CONFIG = """\
runner_type = 'GoodSAMRunner'
model = dict(
    type='GoodSAM',
    student=dict(init_cfg=dict(type='Pretrained', checkpoint='hf:nvidia/segformer-b0')),
    teacher_assistant=dict(type='OnnxAssistant', file='rig|5.onnx'),
)
train_dataloader = dict(dataset=dict(type='CatalogueDataset', name='densepass', split='train'))
val_dataloader = dict(dataset=dict(type='CatalogueDataset', name='densepass', split='val'))
"""


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as an upload needs: a repository, preupload, large files apart, a commit."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        hub = self.server
        if self.headers.get('Authorization') != f'Bearer {TOKEN}':
            return self._answer({'error': 'Invalid username or password.'}, 401)
        if self.path == '/api/repos/create':
            hub.created = json.loads(body)
            return self._answer({'url': f'{hub.address}/{hub.created["organization"]}/{hub.created["name"]}'})
        if self.path == '/api/validate-yaml':
            assert 'pipeline_tag: image-segmentation' in json.loads(body)['content']
            return self._answer({'errors': hub.errors, 'warnings': []}, 400 if hub.errors else 200)
        if self.path.endswith('/preupload/main'):
            large = ('.safetensors', '.pth')
            names = [file['path'] for file in json.loads(body)['files']]
            kinds = [{'path': name, 'uploadMode': 'lfs' if name.endswith(large) else 'regular'} for name in names]
            return self._answer({'files': [{**kind, 'shouldIgnore': False} for kind in kinds]})
        if self.path.endswith('/info/lfs/objects/batch'):
            objects = json.loads(body)['objects']
            ways = [{'upload': {'href': f'{hub.address}/put/{thing["oid"]}'}} for thing in objects]
            answers = [{**thing, 'actions': way} for thing, way in zip(objects, ways, strict=True)]
            return self._answer({'transfer': 'basic', 'objects': answers})
        assert self.path == '/api/models/me/student/commit/main'
        for line in map(json.loads, body.decode().splitlines()):
            value = line['value']
            if line['key'] == 'file':
                hub.files[value['path']] = base64.b64decode(value['content'])
            elif line['key'] == 'lfsFile':
                hub.files[value['path']] = hub.large[value['oid']]
        return self._answer({'commitUrl': f'{hub.address}/me/student/commit/{"c" * 40}', 'commitOid': 'c' * 40})

    def do_PUT(self):
        content = self.rfile.read(int(self.headers['Content-Length']))
        oid = self.path.rpartition('/')[2]
        assert hashlib.sha256(content).hexdigest() == oid
        self.server.large[oid] = content
        self._answer({})

    def do_GET(self):
        if self.path == '/api/models/me/student' and self.server.created:
            return self._answer({'id': 'me/student', 'private': self.server.is_private})
        return self._answer({'error': 'Repository not found'}, 404)

    def _answer(self, content, status=200):
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    server.address = f'http://127.0.0.1:{server.server_port}'
    server.created, server.files, server.large = None, {}, {}
    server.is_private, server.errors = True, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(tmp_path):
    """A config and a checkpoint as a run writes them, with scores beside them."""
    config, checkpoint = tmp_path / 'config.py', tmp_path / 'iter_40.pth'
    config.write_text(CONFIG)
    masks = {'fingerprint': FINGERPRINT, 'settings': {'generator': {'name': 'sam', 'model': 'vit_h'}}, 'panoramas': 7}
    meta = {'iter': 40, 'seed': 3, 'mask_cache': masks, 'experiment_name': 'config_20260101_120000'}
    content = {'meta': meta, 'state_dict': {'student.backbone.x': torch.zeros(1)}}
    torch.save(content, checkpoint)
    lines = [{'mIoU': 11.0, 'step': 20}, {'mIoU': 43.21, 'aAcc': 90.0, 'step': 40}]
    for began, logged in (('20260101_120000', lines), ('20260102_120000', [{'mIoU': 12.0, 'step': 40}])):
        log = tmp_path / began / 'vis_data'
        log.mkdir(parents=True)
        (log / 'scalars.json').write_text('\n'.join(map(json.dumps, logged)))
    row = {'mode': 'student', 'input_scale': 1.5, 'mIoU': 44.4, 'IoU.road': 90.0}
    rows = [row, {**row, 'mode': 'ta_tile', 'mIoU': 77.7}, {**row, 'mode': 'ensemble', 'mIoU': 77.7}]
    scored = {'dataset': 'wildpass', 'split': 'val', 'images': {'scored': 9}, 'scores': rows}
    (tmp_path / 'of_this.json').write_text(json.dumps({**scored, 'checkpoint': str(checkpoint)}))
    (tmp_path / 'of_another.json').write_text(json.dumps({**scored, 'dataset': 'x', 'checkpoint': str(config)}))
    of_an_older_file = tmp_path / 'before.json'
    of_an_older_file.write_text(json.dumps({**scored, 'dataset': 'x', 'checkpoint': str(checkpoint)}))
    os.utime(of_an_older_file, (1, 1))
    return Config.fromfile(config), content, checkpoint


def test_the_card_has_what_went_in_and_the_scores_of_this_checkpoint(run, tmp_path):
    config, content, checkpoint = run
    known = provenance_of(config, content, str(checkpoint))
    classes = LABEL_SPACES['cityscapes19'].classes
    text = model_card('b0', known, classes, 3_700_000, None, None)
    for line in (
        '| training images | densepass, 7 of them | not known here',
        f'| instance masks | fingerprint {FINGERPRINT}, made by `{{"name": "sam", "model": "vit_h"}}` | Apache-2.0',
        "| student's initial weights | hf:nvidia/segformer-b0 | NVIDIA Source Code License",
        "| teacher assistant's initial weights | rig\\|5.onnx | not known here",
        '| densepass val |  | validation of the run | 43.21 |  | 90.00 |',
        '| wildpass val | 9 | student, input scale 1.5 | 44.40 |  |  |',
        'Its weights are those after iteration 40, seed 3.',
        "type='OnnxAssistant'",
        'tools/predict.py b0.py b0.safetensors',
        'No licence was chosen',
    ):
        assert line in text, line
    assert not [other for other in ('11.0', '12.0', '77.7', '| x') if other in text]
    card = ModelCard(text)  # as the hub reads it
    assert (card.data.license, card.data.license_name) == ('other', 'see-what-went-in')
    assert card.data.pipeline_tag == 'image-segmentation'
    found = {(one.dataset_type, one.dataset_split, one.metric_name): one.metric_value for one in card.data.eval_results}
    assert found == {
        ('densepass', 'val', 'mIoU, validation of the run'): 43.21,
        ('densepass', 'val', 'aAcc, validation of the run'): 90.0,
        ('wildpass', 'val', 'mIoU, student, input scale 1.5'): 44.4,
    }
    # Of a run before masks were recorded, and scored nowhere.
    older = provenance_of(config, {'meta': {}, 'state_dict': content['state_dict']}, str(tmp_path / 'gone.pth'))
    text = model_card('b0', older, classes, 3_700_000, 'apache-2.0', 'me/student')
    assert '| instance masks | not recorded in the checkpoint | not known here' in text
    assert 'This checkpoint has not been scored' in text and 'published under apache-2.0' in text
    assert ModelCard(text).data.to_dict().get('model-index') is None
    assert 'hf download me/student --local-dir b0' in text


def test_a_card_does_not_say_what_is_not_known(run):
    config = run[0]
    weights = {'state_dict': {'backbone.x': torch.zeros(1)}}
    initial = provenance_of(config, weights, 'hf:nvidia/segformer-b0')
    exported = provenance_of(Config({'model': {'type': 'EncoderDecoder'}}), weights, '/home/me/student.safetensors')
    for known, row in (
        (initial, '| this network | hf:nvidia/segformer-b0 | NVIDIA Source Code License'),
        (exported, '| this network | student.safetensors | not known here'),
    ):
        text = model_card('b0', known, ['road'], 3_700_000)
        assert row in text
        assert 'do not say how it was trained' in text
        assert not [
            word for word in ('It was trained', 'masks', 'after iteration') if word in text.partition('## Config')[0]
        ]


def test_an_export_replaces_neither_notes_nor_the_config_that_it_reads(tmp_path):
    weights = str(ROOT / 'stage2_distill/weights/segformer_b0.safetensors')
    config = tmp_path / 'mine.py'
    config.write_text(f'_base_ = {str(ROOT / "mmseg_configs/source/segformer_b0_toypass.py")!r}\n')
    export = load_tool('export_student').main
    for name in ('mine.safetensors', 'README.safetensors'):
        (tmp_path / 'README.md').write_text('---\nlayout: mine\n---\n')
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(ConfigError, match='give another --out'):
            export([str(config), weights, '--out', str(tmp_path / name)])
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    for _ in range(2):
        assert export([str(config), weights, '--out', str(tmp_path / 'b0.safetensors')]) == 0
    exported = [str(tmp_path / 'b0.py'), str(tmp_path / 'b0.safetensors')]
    assert export([*exported, '--out', exported[1], '--half']) == 0


def test_licences_are_those_that_the_docs_state():
    assert licence_of('hf:nvidia/segformer-b5-finetuned-cityscapes-1024-1024').endswith('non-commercial use')
    assert licence_of('goodsam://segformer_b0.safetensors').startswith('Apache-2.0')
    assert licence_of('https://mmassets.onedl.ai/mmsegmentation/v0.5/segformer/x.pth').startswith('Apache-2.0 (MMSeg')
    assert licence_of('/home/me/x.pth') == UNKNOWN
    docs = ' '.join((ROOT / 'docs/usage.md').read_text().split())
    for weights in ('hf:nvidia/segformer-b5-finetuned-cityscapes-1024-1024',):
        assert licence_of(weights) in docs
    for publisher, licence in (
        ('SAM, SAM 2 (Meta)', 'Apache-2.0'),
        ('toy SAM and SegFormers of this project', 'Apache-2.0'),
    ):
        assert f'| {publisher} | {licence}' in docs


def test_a_student_is_pushed_with_its_card_and_comes_back(hub, tmp_path, monkeypatch, capsys):
    source = ('mmseg_configs/source/segformer_b0_toypass.py', 'stage2_distill/weights/segformer_b0.safetensors')
    source = [str(ROOT / name) for name in source]
    export = load_tool('export_student').main
    monkeypatch.setattr('huggingface_hub.constants.ENDPOINT', hub.address)  # as HF_ENDPOINT sets it
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_DISABLE_XET', True)
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')
    monkeypatch.setenv('HF_TOKEN', TOKEN)
    out = tmp_path / 'b0.safetensors'
    assert export([*source, '--push', 'me/student', '--private', '--half', '--out', str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f'{hub.address}/me/student'
    assert (hub.created['organization'], hub.created['name'], hub.created['visibility']) == ('me', 'student', 'private')
    names = {'model.safetensors', 'model.py', 'model.sha256', 'model.pth', 'model_mmseg.py', 'README.md'}
    assert set(hub.files) == names
    for line in hub.files['model.sha256'].decode().splitlines():
        digest, name = line.split()
        assert hashlib.sha256(hub.files[name]).hexdigest() == digest
    assert '# me/student' in hub.files['README.md'].decode() and '# b0' in (tmp_path / 'b0.md').read_text()
    assert 'It was trained with labels.\n' in (tmp_path / 'b0.md').read_text()
    # What was pushed is what hf:me/student finds.
    own = tmp_path / 'own/me/student'
    own.mkdir(parents=True)
    for name, content in hub.files.items():
        (own / name).write_bytes(content)
    again = tmp_path / 'again.safetensors'
    monkeypatch.setenv('GOODSAM_WEIGHTS_DIR', str(tmp_path / 'own'))
    assert export([str(own / 'model.py'), 'hf:me/student', '--half', '--out', str(again)]) == 0
    for other in (own / 'model.safetensors', again):  # the order of names in the files' headers is left to chance
        one, two = load_safetensors(str(out)), load_safetensors(str(other))
        assert one['meta'] == two['meta'] and set(one['state_dict']) == set(two['state_dict'])
        assert all(torch.equal(one['state_dict'][name], value) for name, value in two['state_dict'].items())
    with pytest.raises(ConfigError, match='--push student: a repository is named ORG/NAME'):
        export([*source, '--push', 'student'])
    with pytest.raises(ConfigError, match=r"--push me/a--b: Cannot have .* 'me/a--b'; choose another"):
        export([*source, '--push', 'me/a--b'])
    hub.is_private = False
    hub.files.clear()
    with pytest.raises(ConfigError, match='--private, but me/student is there and public: nothing was uploaded'):
        export([*source, '--push', 'me/student', '--private'])
    assert not hub.files
    hub.errors = [{'message': '"license" must be one of the known ones'}]
    with pytest.raises(ConfigError, match=r'"license" must be one of .*\); change what it names; then'):
        export([*source, '--push', 'me/student', '--license', 'mine'])
    monkeypatch.setenv('HF_TOKEN', 'hf_reads')
    with pytest.raises(ConfigError, match=rf'{hub.address} did not take me/student \(.*hf auth login'):
        export([*source, '--push', 'me/student'])
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(ConfigError, match='--push needs huggingface_hub; pip install huggingface_hub'):
        export([*source, '--push', 'me/student'])
