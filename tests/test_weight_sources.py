"""Where published weights are looked for: the user's folder, what was fetched before, the publisher and its mirrors."""

import hashlib
import logging

import pytest
import torch
from test_source_training import complaint, load_tool

from stage1_sam_cache.errors import WeightsError
from stage1_sam_cache.sam import weights as sam_weights
from stage1_sam_cache.sam.weights import PUBLISHED, find_weights
from stage1_sam_cache.system import weight_sources
from stage1_sam_cache.system.weight_sources import FOLDER, MIRRORS, NotFoundError, addresses_of, find_file
from stage2_distill.checkpoints.safe_checkpoints import load_any
from stage2_distill.errors import CheckpointError


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """A user's folder, a mirror, and a publisher that no longer has anything."""
    for name in ('own', 'mirror', 'published', 'kept'):
        (tmp_path / name).mkdir()
    monkeypatch.setenv(FOLDER, str(tmp_path / 'own'))
    monkeypatch.setenv(MIRRORS, (tmp_path / 'mirror').as_uri() + '/')


def test_the_places_are_asked_in_order_and_a_mirror_is_told(tmp_path, caplog):
    published, kept = tmp_path / 'published/x.pth', tmp_path / 'kept/x.pth'
    published.write_bytes(b'published')
    url, digest = published.as_uri(), hashlib.sha256(b'published').hexdigest()
    with caplog.at_level(logging.WARNING):
        assert find_file(url, kept, digest).read_bytes() == b'published'
    (line,) = (record.getMessage() for record in caplog.records)
    for part in (
        f'x.pth is from {url}; tried: {tmp_path}/own/x.pth (no such file), {kept} (no such file), file:',
        'mirr',
    ):
        assert part in line
    published.unlink()
    assert find_file(url, kept, digest) == kept  # fetched before
    kept.unlink()
    (tmp_path / 'mirror/x.pth').write_bytes(b'mirror')
    assert find_file(url, kept).read_bytes() == b'mirror'
    kept.unlink()
    with pytest.raises(NotFoundError) as told:
        find_file(url, kept, digest)
    assert 'mirror/x.pth (is not the published file, whose SHA-256 it does not have), file:' in str(told.value)
    assert 'published/x.pth (' in str(told.value)
    assert list(kept.parent.iterdir()) == []
    (tmp_path / 'own/x.pth').write_bytes(b'own')
    assert find_file(url, kept, digest).read_bytes() == b'own'
    assert list(kept.parent.iterdir()) == []


def test_the_old_home_of_openmmlab_is_not_needed(monkeypatch):
    monkeypatch.setenv(MIRRORS, 'https://mirror.example/weights https://other.example/')
    new = 'https://mmassets.onedl.ai/mmsegmentation/v0.5/x.pth'
    old = 'https://download.openmmlab.com/mmsegmentation/v0.5/x.pth'
    mirrors = ['https://mirror.example/weights/x.pth', 'https://other.example/x.pth']
    assert addresses_of(new) == addresses_of(old) == [*mirrors, new, old]
    monkeypatch.delenv(MIRRORS)
    assert addresses_of('https://example.org/a/x.pth') == ['https://example.org/a/x.pth']
    assert len(addresses_of(PUBLISHED['vit_h'].url)) == 2


def test_a_host_that_does_not_answer_is_left_after_a_while(tmp_path, monkeypatch):
    import socket

    monkeypatch.setattr(weight_sources, '_PATIENCE', 0.2)
    monkeypatch.delenv(MIRRORS)
    before = socket.getdefaulttimeout()
    with socket.create_server(('127.0.0.1', 0)) as silent:
        address = f'http://127.0.0.1:{silent.getsockname()[1]}/x.pth'
        with pytest.raises(NotFoundError, match='timed out'):
            find_file(address, tmp_path / 'kept/x.pth')
    assert socket.getdefaulttimeout() == before


def test_both_stages_look_there_and_say_what_they_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    address = (tmp_path / 'published/net_20240101-00000000.pth').as_uri()
    monkeypatch.setattr('stage2_distill.checkpoints.safe_checkpoints._WEB', 'file://')
    with pytest.raises(CheckpointError) as told:
        load_any(address)
    text = str(told.value)
    for part in ('own/net_', 'hub/checkpoints/net_', 'mirror/net_', 'published/net_', '--weights-dir names'):
        assert part in text
    assert '\n' not in text
    torch.save({'state_dict': {'a': torch.ones(1)}}, tmp_path / 'own/net_20240101-00000000.pth')
    assert load_any(address)['state_dict'] == {'a': torch.ones(1)}
    monkeypatch.setitem(PUBLISHED, 'tiny', sam_weights.PublishedWeights('sam_tiny.pth', address, 'f' * 64))
    monkeypatch.setitem(sam_weights.ARCHITECTURES, 'tiny', None)
    with pytest.raises(WeightsError, match=r'tried: .*own/sam_tiny\.pth .*--weights-dir names'):
        find_weights('tiny', tmp_path / 'kept')
    (tmp_path / 'own/sam_tiny.pth').write_bytes(b'weights')
    assert find_weights('tiny', tmp_path / 'kept') == tmp_path / 'own/sam_tiny.pth'


def test_the_flag_sets_the_folder_and_refuses_one_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(FOLDER, '')
    assert complaint('train', monkeypatch, 'x.py', '--weights-dir', tmp_path / 'none') == '2'
    assert f'--weights-dir: there is no folder {tmp_path}/none' in capsys.readouterr().err
    args = load_tool('check_paper').build_parser().parse_args(['--weights', str(tmp_path / 'own')])
    assert args.weights_dir == str(tmp_path / 'own')
    assert weight_sources.own_folder() == tmp_path / 'own'
