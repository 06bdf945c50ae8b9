"""The card of an exported student, and its way to a hub: a stub of Hugging Face's that keeps what it is sent."""

import base64
import hashlib
import json
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
            return self._answer({'errors': [], 'warnings': []})
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
        self._answer({'error': 'Repository not found'}, 404)

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
    content = {'meta': {'iter': 40, 'seed': 3, 'mask_cache': masks}, 'state_dict': {}}
    torch.save(content, checkpoint)
    log = tmp_path / '20260101/vis_data'
    log.mkdir(parents=True)
    lines = [{'mIoU': 11.0, 'step': 20}, {'mIoU': 43.21, 'aAcc': 90.0, 'step': 40}]
    (log / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)))
    row = {'mode': 'student', 'input_scale': 1.5, 'mIoU': 44.4, 'IoU.road': 90.0}
    scored = {'dataset': 'wildpass', 'split': 'val', 'images': {'scored': 9}, 'scores': [row]}
    (tmp_path / 'of_this.json').write_text(json.dumps({**scored, 'checkpoint': str(checkpoint)}))
    (tmp_path / 'of_another.json').write_text(json.dumps({**scored, 'dataset': 'x', 'checkpoint': str(config)}))
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
    assert '11.0' not in text and '| x' not in text
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
    older = provenance_of(config, {'meta': {}}, str(tmp_path / 'gone.pth'))
    text = model_card('b0', older, classes, 3_700_000, 'apache-2.0', 'me/student')
    assert '| instance masks | not recorded in the checkpoint | not known here' in text
    assert 'This checkpoint has not been scored' in text and 'published under apache-2.0' in text
    assert ModelCard(text).data.to_dict().get('model-index') is None
    assert 'hf download me/student --local-dir b0' in text


def test_licences_are_those_that_the_docs_state():
    assert licence_of('hf:nvidia/segformer-b5-finetuned-cityscapes-1024-1024').endswith('non-commercial use')
    assert licence_of('goodsam://segformer_b0.safetensors').startswith('Apache-2.0')
    assert licence_of('https://mmassets.onedl.ai/mmsegmentation/v0.5/segformer/x.pth').startswith('Apache-2.0 (MMSeg')
    assert licence_of('/home/me/x.pth') == UNKNOWN


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
    monkeypatch.setenv('HF_TOKEN', 'hf_reads')
    with pytest.raises(ConfigError, match=rf'{hub.address} did not take me/student \(.*hf auth login'):
        export([*source, '--push', 'me/student'])
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(ConfigError, match='--push needs huggingface_hub; pip install huggingface_hub'):
        export([*source, '--push', 'me/student'])
