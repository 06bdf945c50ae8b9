"""Checkpoints from anywhere: no file runs code unless it is trusted, and none that is damaged is loaded."""

from __future__ import annotations

import io
import os
import pickle
import re
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from conftest import ROOT, build_tiny_sam
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader
from PIL import Image
from safetensors.torch import save_file

from stage1_sam_cache.errors import WeightsError
from stage1_sam_cache.sam.weights import ARCHITECTURES, load_sam
from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint, use_safe_loaders
from stage2_distill.checkpoints.safetensors_files import load_safetensors, save_safetensors
from stage2_distill.errors import CheckpointError

GOODSAM, SOURCE = ROOT / 'mmseg_configs/goodsam_b0_toypass.py', ROOT / 'mmseg_configs/source/segformer_b0_toypass.py'
SHIPPED = ROOT / 'stage2_distill/weights/segformer_b0.safetensors'
PUBLISHED = 'segformer_mit-b0_8x1_1024x1024_160k_cityscapes_20211208_101857-e7f88502.pth'


SWITCH = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'  # PyTorch's


@pytest.fixture(autouse=True)
def _switch_back(monkeypatch):
    monkeypatch.setenv(SWITCH, '0')


# --- files that run code ---


class Call:
    """Unpickling it calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def touch(mark: Path) -> Call:
    return Call(os.system, f'touch {mark}')


def content(hostile: object, part: str | None = None) -> dict[str, Any]:
    """What a training run writes, with something more in it."""
    whole: dict[str, Any] = {
        'meta': {'iter': 1},
        'state_dict': {'backbone.weight': torch.ones(3)},
        'message_hub': {'runtime_info': {}},
        'optimizer': {'state': {}},
    }
    (whole if part is None else whole[part])['more'] = hostile
    return whole


def in_zip(data: bytes, path: Path, compression: int = zipfile.ZIP_STORED, **others: bytes) -> None:
    """A PyTorch file with a custom pickle."""
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for name, record in {'data.pkl': data, 'byteorder': b'little', 'version': b'3\n', **others}.items():
            archive.writestr(f'archive/{name}', record)


def text(value: str) -> bytes:
    return b'X' + struct.pack('<I', len(value.encode())) + value.encode()


def called(function: bytes, *arguments: bytes) -> bytes:
    """Pickle code that calls what other code has left on the stack."""
    return function + b'(' + b''.join(arguments) + b'tR'


def walk_to_exec(code: str) -> bytes:
    """Reaches ``exec`` by ``getattr`` alone, from a class that checkpoints of MMEngine may name."""
    get = b'cbuiltins\ngetattr\n'
    start = called(get, b'cmmengine.logging.history_buffer\nHistoryBuffer\n', text('__init__'))
    known = called(get, start, text('__globals__'))
    builtins = called(called(get, known, text('__getitem__')), text('__builtins__'))
    run = called(called(get, builtins, text('__getitem__')), text('exec'))
    return b'\x80\x02}' + text('state_dict') + called(run, text(code)) + b's.'


def in_tar(path: Path, member: str, hostile: object) -> None:
    """PyTorch's first format."""
    empty = pickle.dumps(0, 2)
    members = {'storages': empty + pickle.dumps([], 2), 'tensors': empty, 'pickle': pickle.dumps({}, 2)}
    members[member] = pickle.dumps(hostile, 2)
    with tarfile.open(path, 'w', format=tarfile.PAX_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def saved(hostile: Callable[[Path], object], part: str | None = None, **options: Any) -> Callable[[Path, Path], None]:
    return lambda path, mark: torch.save(content(hostile(mark), part), path, **options)


def pickled(protocol: int) -> Callable[[Path, Path], None]:
    return lambda path, mark: path.write_bytes(pickle.dumps(content(touch(mark)), protocol))


# Each writes a file that makes the mark if it is loaded without restriction.
FORMS: dict[str, Callable[[Path, Path], None]] = {
    'zip, os.system': saved(touch),
    'zip, exec': saved(lambda mark: Call(exec, f'open({str(mark)!r}, "w")')),
    'zip, open': saved(lambda mark: Call(open, str(mark), 'w')),
    'zip, eval in getattr': saved(lambda mark: Call(getattr, Call(eval, f'open({str(mark)!r}, "w")'), 'name')),
    'zip, getattr chain': lambda path, mark: in_zip(walk_to_exec(f'open({str(mark)!r}, "w")'), path),
    'zip, weights': saved(touch, 'state_dict'),
    'zip, optimizer': saved(touch, 'optimizer'),
    'zip, message hub': saved(touch, 'message_hub'),
    'zip, meta': saved(touch, 'meta'),
    'zip, protocol 5': saved(touch, pickle_protocol=5),
    'legacy': saved(touch, _use_new_zipfile_serialization=False),
    'tar': lambda path, mark: in_tar(path, 'pickle', content(touch(mark))),
    'tar, storages': lambda path, mark: in_tar(path, 'storages', touch(mark)),
    **{f'pickle, protocol {n}': pickled(n) for n in range(6)},
}
# On the command lines: one of each container, and those that allowed functions could have let through.
CHOSEN = ('zip, os.system', 'zip, getattr chain', 'zip, optimizer', 'legacy', 'tar', 'pickle, protocol 4')


def tensor(numel: bytes, size: bytes = b'(K\x04t', offset: bytes = b'K\x00', stride: bytes = b'(K\x01t') -> bytes:
    """A pickle with one tensor, of which any part may be wrong."""
    kind = b'ctorch\nFloatStorage\n'
    storage = b'(' + text('storage') + kind + text('0') + text('cpu') + numel + b'tQ'
    hooks = b'ccollections\nOrderedDict\n)R'
    made = called(b'ctorch._utils\n_rebuild_tensor_v2\n', storage, offset, size, stride, b'\x89', hooks)
    return b'\x80\x02}' + text('a') + made + b's.'


def number(value: float) -> bytes:
    return b'G' + struct.pack('>d', value)


def with_record(data: bytes) -> Callable[[Path], None]:
    return lambda path: in_zip(data, path, **{'data/0': bytes(16)})


def nested(opening: bytes, closing: bytes, depth: int = 50_000) -> bytes:
    return b'\x80\x02}' + text('a') + opening * depth + b']' + closing * depth + b's.'


HUGE = b'\x8a\x08' + struct.pack('<q', 2**62)
# No code, but nothing that a loader expects.
ODD: dict[str, Callable[[Path], None]] = {
    'storage of NaN': with_record(tensor(number(float('nan')))),
    'storage of infinity': with_record(tensor(number(float('inf')))),
    'storage of less than nothing': with_record(tensor(b'J' + struct.pack('<i', -4))),
    'storage larger than its record': with_record(tensor(b'J' + struct.pack('<i', 2**30))),
    'storage larger than memory': with_record(tensor(HUGE)),
    'size of NaN': with_record(tensor(b'K\x04', size=b'(' + number(float('nan')) + b't')),
    'size beyond the storage': with_record(tensor(b'K\x04', size=b'(J' + struct.pack('<i', 2**30) + b't')),
    'offset beyond the storage': with_record(tensor(b'K\x04', offset=b'J' + struct.pack('<i', 2**30))),
    'stride of less than nothing': with_record(tensor(b'K\x04', stride=b'(J' + struct.pack('<i', -1) + b't')),
    'missing record': lambda path: in_zip(tensor(b'K\x04'), path),
    'lists in lists': with_record(nested(b']', b'a')),
    'tuples in tuples': with_record(nested(b'', b'\x85')),
    'a list within itself': with_record(b'\x80\x02}' + text('a') + b']q\x01h\x01as.'),
    'a pickle that unpacks to a thousand times its size': lambda path: in_zip(bytes(2**26), path, zipfile.ZIP_DEFLATED),
    'numbers as names': lambda path: torch.save({1: torch.ones(3)}, path),
    'numbers as names of weights': lambda path: torch.save({'state_dict': {1: torch.ones(3)}}, path),
    'a number as weights': lambda path: torch.save({'state_dict': 5}, path),
    'nothing as weights': lambda path: torch.save({'state_dict': None}, path),
    'text as meta': lambda path: torch.save({'state_dict': {}, 'meta': 'text'}, path),
    'names that lead out': lambda path: in_zip(b'\x80\x02}.', path, **{'../../../out': b'', '/tmp/out': b''}),
}
# An error or not, but no more: these are plain values, and a model that needs weights finds none.
PLAIN = ('lists in lists', 'tuples in tuples', 'a list within itself', 'names that lead out')


def refusal(load: Callable[[], object], path: Path) -> str:
    """The one line in which a file is refused; empty if it is not."""
    try:
        load()
    except (CheckpointError, WeightsError) as problem:
        assert '\n' not in str(problem)
        assert str(path) in str(problem)
        return str(problem)
    return ''


def load_by_mmengine(path: str) -> dict[str, Any]:
    """As a config's weights are loaded after the tools have begun."""
    use_safe_loaders()
    return CheckpointLoader.load_checkpoint(path, 'cpu', 'silent')


def test_no_form_of_file_runs_code_unless_it_is_trusted(tmp_path, trials):
    path, mark = tmp_path / 'hostile.pth', tmp_path / 'code_has_run'
    for form, write in FORMS.items():
        write(path, mark)
        assert not mark.exists(), form
        for load in (
            lambda: check_checkpoint(str(path)),
            lambda: load_sam('toy', path, official=False),
            lambda: load_by_mmengine(str(path)),  # the last, because it sets PyTorch's switch
        ):
            assert refusal(load, path), form
            assert not mark.exists(), form
            trials.count('hostile checkpoint, forms')
        use_safe_loaders(trusted=True)
        refusal(lambda: check_checkpoint(str(path), trusted=True), path)
        assert mark.exists(), f'{form} does not run code, so that nothing has been shown'
        mark.unlink()


def test_the_name_of_a_file_does_not_make_it_another_kind(tmp_path, trials, monkeypatch):
    mark = tmp_path / 'code_has_run'
    pickles, weights = tmp_path / 'pickle.safetensors', tmp_path / 'weights.pth'
    address = tmp_path / 'ab:hostile.pth'
    for form in ('zip, os.system', 'pickle, protocol 2'):
        FORMS[form](pickles, mark)
        for trusted in (False, True):  # even then, because the format has no code
            assert 'no safetensors file' in refusal(lambda t=trusted: check_checkpoint(str(pickles), t), pickles)
    save_safetensors({'a': torch.ones(3)}, {}, tmp_path / 'a.safetensors')
    (tmp_path / 'a.safetensors').rename(weights)
    assert refusal(lambda: check_checkpoint(str(weights)), weights)
    FORMS['zip, os.system'](address, mark)
    monkeypatch.chdir(tmp_path)
    assert refusal(lambda: check_checkpoint(address.name), Path(address.name))
    assert not mark.exists()
    trials.count('hostile checkpoint, forms', 4)


def test_odd_files_are_refused_in_one_line(tmp_path, trials):
    path = tmp_path / 'odd' / 'x.pth'
    path.parent.mkdir()
    use_safe_loaders()
    for name, write in ODD.items():
        write(path)
        assert refusal(lambda: load_sam('toy', path, official=False), path), name
        assert bool(refusal(lambda: check_checkpoint(str(path)), path)) is (name not in PLAIN), name
        assert sorted(tmp_path.iterdir()) == [path.parent], name
        trials.count('hostile checkpoint, forms')


@pytest.mark.parametrize('text', ['[]', '5', '[' * 100_000, '{"a": '])
def test_odd_notes_of_a_safetensors_file_are_refused_in_one_line(tmp_path, text, trials):
    path = tmp_path / 'x.safetensors'
    save_file({'a': torch.ones(3)}, path, {'meta': text})
    assert 'damaged' in refusal(lambda: check_checkpoint(str(path)), path)
    trials.count('hostile checkpoint, forms')


# --- the command lines ---


class Place(NamedTuple):
    """Where a checkpoint enters.

    Attributes:
        file: Name that it has to have there, in a folder of its own.
        command: Tool and flags that load the file, given it.
        flag: Whether there is a ``--trust-checkpoint``.
        status: Exit status of a refusal.
        said: What begins the line of a refusal.
    """

    file: str
    command: Callable[[Path], tuple[object, ...]]
    flag: bool = True
    status: int = 2
    said: str = 'error: '


@pytest.fixture(scope='module')
def places(tmp_path_factory, run_tool) -> dict[str, Place]:
    """All places where a checkpoint enters, over pictures of noise that lie as ToyPASS does."""
    folder = tmp_path_factory.mktemp('places')
    data, work, cache = folder / 'ToyPASS', ('--work-dir', folder / 'work'), folder / 'cache'
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for image, label, size in (
            ('source/leftImg8bit/{}/a/a_000000_000000_leftImg8bit', 'source/gtFine/{}/a/a_000000_000000_gtFine', 64),
            ('target/leftImg8bit/{}/cs/1', 'target/gtFine/{}/cs/1', 100),
        ):
            for name, shape in ((image, (size, 512, 3)), (f'{label}_labelTrainIds', (size, 512))):
                path = data / f'{name.format(split)}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 19, shape, dtype=np.uint8)).save(path)
    windows = ('--window', '100x128', '--stride', '64', '--wrap', '--overlap-source', 'window')
    images = ('--images', data / 'target/leftImg8bit/train')
    toypass = ('--dataset', 'toypass', '--data-root', data, '--split', 'val')
    made = run_tool(
        'cache_sam.py', *toypass, '--generator', 'felzenszwalb', '--scales', '200', *windows, '--out', cache
    )
    assert made.returncode == 0, made.stderr

    loaders = [f'{name}_dataloader.{key}' for name in ('train', 'val', 'test') for key in (
        'num_workers=0', 'persistent_workers=False', f'dataset.root={data}',
    )]  # fmt: skip
    # A trusted file may be one to train from. TensorBoard takes a second to import.
    loaders += ['train_cfg.max_iters=1', 'train_cfg.val_interval=9', 'visualizer.vis_backends=[]']
    grid = ['model.grid.window=(100,128)', 'model.grid.stride=64', f'train_dataloader.dataset.cache={cache}']

    def changed(*more: object, of: tuple[object, ...] = (*loaders, *grid)) -> tuple[object, ...]:
        return ('--cfg-options', *of, *more)

    def start(part: str, address: object) -> tuple[object, ...]:
        return changed(f'model.{part}.init_cfg.checkpoint={address}')

    def resumed(path: Path) -> Path:
        (path.parent / 'last_checkpoint').write_text(str(path))
        return path.parent

    plain = changed(of=tuple(loaders))
    before = ('--split', 'val', '--cache', cache, '--count', '1', '--out', folder / 'x.png')
    return {
        'SAM weights': Place(
            'x.pth', lambda path: ('cache_sam.py', *images, '--sam', 'toy', '--checkpoint', path, *windows)
        ),
        'SAM weights under a published name': Place(
            'sam_vit_b_01ec64.pth',
            lambda path: ('cache_sam.py', *images, '--sam', 'vit_b', '--checkpoint-dir', path.parent),
            flag=False,
        ),
        'student, train': Place('x.pth', lambda path: ('train.py', GOODSAM, *work, *start('student', path))),
        'assistant, train': Place(
            'x.pth', lambda path: ('train.py', GOODSAM, *work, *start('teacher_assistant', path))
        ),
        'student, test': Place('x.pth', lambda path: ('test.py', GOODSAM, *work, *start('student', path))),
        'assistant by its address, test': Place(
            'torch/hub/checkpoints/x.pth',
            lambda path: ('test.py', GOODSAM, *work, *start('teacher_assistant', 'https://example.invalid/x.pth')),
        ),
        'backbone, train': Place(
            'x.pth',
            lambda path: (
                'train.py', SOURCE, *work, *plain,
                'model.backbone.init_cfg.type=Pretrained', f'model.backbone.init_cfg.checkpoint={path}',
            ),
        ),
        'train --load-from': Place('x.pth', lambda path: ('train.py', GOODSAM, *work, '--load-from', path, *changed())),
        'train --resume': Place(
            'iter_2.pth',
            lambda path: ('train.py', GOODSAM, '--resume', '--work-dir', resumed(path), *changed()),
        ),
        'test': Place('x.pth', lambda path: ('test.py', SOURCE, path, *work, *plain)),
        'test of GoodSAM': Place('x.pth', lambda path: ('test.py', GOODSAM, path, *work, *changed())),
        'predict': Place('x.pth', lambda path: ('predict.py', SOURCE, path, *images, '--out', folder / 'labels')),
        'export': Place('x.pth', lambda path: ('export_student.py', SOURCE, path, '--out', folder / 'x.safetensors')),
        'check_paper --weights': Place(
            PUBLISHED,
            lambda path: (
                'check_paper.py', '--data-root', data / 'target', '--rows', 'student_b0', '--limit', 1, *work,
                '--weights', path.parent,
            ),
            status=1,  # none of the rows could be measured
            said='not run: student_b0: ',
        ),
        'browse': Place('x.pth', lambda path: ('browse_pseudo_labels.py', GOODSAM, path, *before, *changed())),
        'browse, before': Place(
            'x.pth', lambda path: ('browse_pseudo_labels.py', GOODSAM, *before, *start('student', path))
        ),
        'train_toy_sam --resume': Place(
            'iter_2.pth',
            lambda path: (
                'train_toy_sam.py', '--data', data, '--iterations', '4', '--resume', '--work-dir', resumed(path),
            ),
            flag=False,
        ),
    }  # fmt: skip


def run_with(run_tool: Callable[..., Any], place: Place, path: Path, *flags: str) -> Any:
    """Runs a place's command line on its file, which PyTorch would also find as one that it has fetched."""
    tool, *arguments = place.command(path)
    home = {'TORCH_HOME': str(path.parents[2])} if 'hub' in path.parts else {}
    # Flags before those that take any number of values.
    return run_tool(tool, *flags, *arguments, env=os.environ | home, cwd=ROOT, timeout=100)


def assert_refused(finished: Any, place: Place, path: Path) -> None:
    """One line names the file, and there is nothing more than what libraries warn of."""
    told = finished.stdout + finished.stderr
    assert finished.returncode == place.status, told
    assert 'Traceback' not in told
    lines = [line for line in told.splitlines() if line.startswith(('error: ', 'not run: '))]
    assert len(lines) == 1, told
    assert lines[0].startswith(place.said)
    assert str(path) in lines[0]
    assert re.search('more than weights|holds code|damaged', lines[0])


def test_no_place_where_a_checkpoint_enters_runs_code(places, run_tool, tmp_path, trials):
    forms = CHOSEN if trials.long else CHOSEN[:1]
    for name, place in places.items():
        for form in forms:
            mark = tmp_path / 'code_has_run'
            path = tmp_path / re.sub(r'\W', '_', f'{name} {form}') / place.file  # nothing that an option's value loses
            path.parent.mkdir(parents=True)
            FORMS[form](path, mark)
            assert_refused(run_with(run_tool, place, path), place, path)
            assert not mark.exists(), (name, form)
            trials.count(f'hostile checkpoint, {name}')
            if place.flag and (trials.long or name in ('predict', 'SAM weights')) and form == forms[0]:
                trusted = run_with(run_tool, place, path, '--trust-checkpoint')
                told = trusted.stdout + trusted.stderr
                assert mark.exists(), f'{name} does not load the file, so that nothing has been shown: {told}'
                mark.unlink()


# --- damage ---


def same(one: object, other: object) -> bool:
    """Whether two checkpoints hold the same, to the bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return (
            one.dtype == other.dtype and one.shape == other.shape and one.numpy().tobytes() == other.numpy().tobytes()
        )
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, HistoryBuffer):
        return same(one.data, other.data)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(np.array_equal(one, other))


@pytest.fixture
def training() -> dict[str, Any]:
    """A small network in what a training run builds around it."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Conv2d(8, 5, 1))
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.rand(2, 3, 5, 5)).sum().backward()
    optimizer.step()
    scalars = {'train/loss': HistoryBuffer([0.5, 0.25], [1, 1])}
    return {
        'meta': {'iter': 4, 'seed': 0, 'dataset_meta': {'classes': ['road', 'car'], 'palette': [[1, 2, 3], [4, 5, 6]]}},
        'state_dict': dict(network.state_dict()),
        'message_hub': {'log_scalars': scalars, 'runtime_info': {'iter': np.int64(4)}},
        'optimizer': optimizer.state_dict(),
    }


def made_pth(folder: Path, training: dict[str, Any]) -> Path:
    torch.save(training, folder / 'x.pth')
    return folder / 'x.pth'


def made_safetensors(folder: Path, training: dict[str, Any]) -> Path:
    save_safetensors(training['state_dict'], training['meta'], folder / 'x.safetensors')
    return folder / 'x.safetensors'


def made_half(folder: Path, training: dict[str, Any]) -> Path:
    save_safetensors(training['state_dict'], training['meta'], folder / 'x.safetensors', half=True)
    return folder / 'x.safetensors'


def made_sam(folder: Path, training: dict[str, Any]) -> Path:
    torch.save(build_tiny_sam().state_dict(), folder / 'sam.pth')
    return folder / 'sam.pth'


def load_weights_of_sam(path: str) -> dict[str, torch.Tensor]:
    return dict(load_sam('tiny', Path(path), official=False)[0].state_dict())


KINDS = {
    'training': (made_pth, check_checkpoint),
    'training, by MMEngine': (made_pth, load_by_mmengine),
    'safetensors': (made_safetensors, check_checkpoint),
    'safetensors of float16': (made_half, check_checkpoint),
    'SAM': (made_sam, load_weights_of_sam),
}


@pytest.fixture(params=KINDS)
def saved(request, training, tmp_path, monkeypatch) -> tuple[Path, Callable[[str], Any]]:
    """A file of every kind, and what loads it."""
    monkeypatch.setitem(ARCHITECTURES, 'tiny', build_tiny_sam)
    use_safe_loaders()
    make, load = KINDS[request.param]
    return make(tmp_path, training), load


def test_a_flipped_bit_is_refused_or_changes_nothing(saved, trials):
    path, load = saved
    whole, original = path.read_bytes(), load(str(path))
    harmless = 0
    for place in trials.rng.integers(0, len(whole) * 8, trials.many(20, 400)):
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
        refused = refusal(lambda: load(str(path)), path)
        lost = not refused and not same(load(str(path)), original)
        harmless += not refused
        trials.count('checkpoint, flipped bit', lost=int(lost))
    assert harmless < trials.many(15, 300)  # the rest of a small PyTorch file is padding


def test_a_flipped_bit_of_a_directory_is_refused_or_changes_nothing(training, tmp_path, trials):
    """What no checksum covers: the list of records. Of one marked as a folder PyTorch would read nothing at all."""
    use_safe_loaders()
    path = made_pth(tmp_path, training)
    whole, original = path.read_bytes(), check_checkpoint(str(path))
    begin = whole.index(b'PK\x01\x02')
    entry = whole.rindex(b'PK\x01\x02', 0, whole.rindex(b'x/data/0'))
    drawn = trials.rng.integers(begin * 8, len(whole) * 8, trials.many(100, 4000))
    for place in {(entry + 38) * 8 + 4, *drawn.tolist()}:
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
        refused = refusal(lambda: check_checkpoint(str(path)), path)
        lost = not refused and not same(check_checkpoint(str(path)), original)
        trials.count('checkpoint, flipped bit', lost=int(lost))


def test_a_truncated_file_is_refused(saved, trials):
    path, load = saved
    whole = path.read_bytes()
    for length in {0, len(whole) - 1, *trials.rng.integers(0, len(whole), trials.many(10, 100) - 2).tolist()}:
        path.write_bytes(whole[:length])
        trials.count('checkpoint, truncated', lost=int(not refusal(lambda: load(str(path)), path)))


def test_the_project_s_weights_are_compared_with_the_digest_beside_them(tmp_path, trials):
    path, whole = tmp_path / SHIPPED.name, bytearray(SHIPPED.read_bytes())
    path.write_bytes(whole)
    path.with_suffix('.sha256').write_bytes(SHIPPED.with_suffix('.sha256').read_bytes())
    assert same(load_safetensors(str(path)), load_safetensors(str(SHIPPED)))
    for place in trials.rng.integers(0, len(whole) * 8, trials.many(3, 30)):
        whole[place // 8] ^= 1 << place % 8
        path.write_bytes(whole)
        assert 'damaged' in refusal(lambda: check_checkpoint(str(path)), path)
        whole[place // 8] ^= 1 << place % 8
        trials.count('checkpoint, flipped bit')


def test_a_flipped_bit_of_a_weight_is_said_by_the_command_lines(places, run_tool, tmp_path, trials):
    network = torch.nn.Linear(100, 100)
    for name in ('predict', 'SAM weights', 'train --load-from'):
        path = tmp_path / name / 'x.pth'
        path.parent.mkdir()
        torch.save({'state_dict': network.state_dict()}, path)
        data = bytearray(path.read_bytes())
        data[data.index(network.weight.detach().numpy().tobytes()) + 777] ^= 1
        path.write_bytes(data)
        finished = run_with(run_tool, places[name], path)
        assert_refused(finished, places[name], path)
        assert 'does not match its checksum' in finished.stderr
        trials.count('checkpoint, flipped bit')


def test_files_without_checksums_still_load(training, tmp_path, trials):
    """Of PyTorch told to leave them out, of PyTorch before 1.6, and of others' safetensors."""
    use_safe_loaders()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(training, tmp_path / 'without.pth')
    finally:
        torch.serialization.set_crc32_options(True)
    with zipfile.ZipFile(tmp_path / 'without.pth') as archive:
        assert not any(record.CRC for record in archive.infolist())
    torch.save(training, tmp_path / 'legacy.pth', _use_new_zipfile_serialization=False)
    for name in ('without', 'legacy'):
        assert same(check_checkpoint(str(tmp_path / f'{name}.pth')), training)
    save_file(training['state_dict'], tmp_path / 'others.safetensors')
    assert same(check_checkpoint(str(tmp_path / 'others.safetensors'))['state_dict'], training['state_dict'])
    path = tmp_path / 'without.pth'
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert refusal(lambda: check_checkpoint(str(path)), path)
    trials.count('checkpoint, truncated')


def test_a_file_that_is_not_what_its_name_says_is_told(tmp_path, caplog, monkeypatch, trials):
    """OpenMMLab's names end with the beginning of a SHA-256; some are wrong, so that it is no error."""
    told = []
    monkeypatch.setattr('stage2_distill.checkpoints.safe_checkpoints.print_log', lambda line, *_: told.append(line))
    path = tmp_path / PUBLISHED
    torch.save({'state_dict': {}}, path)
    check_checkpoint(str(path))
    assert len(told) == 1
    assert str(path) in told[0]
    assert 'its name says e7f88502' in told[0]
    torch.save({'state_dict': {}}, tmp_path / 'best_mIoU_iter_20000.pth')
    check_checkpoint(str(tmp_path / 'best_mIoU_iter_20000.pth'))
    assert len(told) == 1
    trials.count('checkpoint, flipped bit')
