"""tools/adapt_sam.py and tools/score_prompts.py as a user runs them: killed, resumed, misused."""

import json
import signal
import time

import pytest

from stage1_sam_cache import open_cache
from stage1_sam_cache.sam.adapter import read_adapter
from stage1_sam_cache.sam.weights import PUBLISHED


@pytest.fixture(scope='module')
def adapt(tiny_toypass, tiny_caches):
    """The command on tiny panoramas with few prompts, up to its work dir."""
    images = ['--dataset', 'toypass', '--data-root', str(tiny_toypass[0]), '--prompts', str(tiny_caches['train'])]
    few = ['--instances', '2', '--min-area', '20', '--warmup', '2', '--lr', '1e-3', '--checkpoint-interval', '1']
    return [*images, '--sam', 'toy', *few, '--keep', '0', '2', '--work-dir']


def test_a_killed_run_resumes_to_the_same_bytes(adapt, run_tool, start_tool, tiny_caches, tiny_toypass, tmp_path):
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    done = run_tool('adapt_sam.py', *adapt, whole, '--steps', '3')
    assert done.returncode == 0, done.stderr[-2000:]
    assert f'--sam toy --adapter {whole}/adapter.safetensors' in done.stdout
    log = (done.stdout + done.stderr).split()
    assert {'loss_teacher_anchor:', 'loss_contrast:', 'loss_focal:', 'loss_iou:', 'eta:'} <= set(log)

    process = start_tool('adapt_sam.py', *adapt, killed, '--steps', '3')
    while not (killed / 'iter_1.pth').exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / 'adapter.safetensors').exists()
    other = run_tool('adapt_sam.py', *adapt, killed, '--steps', '3', '--resume', '--lr', '1e-2')
    assert other.returncode == 2 and "'lr': 0.001" in other.stderr and 'give the flags that' in other.stderr
    resumed = run_tool('adapt_sam.py', *adapt, killed, '--steps', '3', '--resume')
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    for name in ('adapter.safetensors', 'adapter_2.safetensors', 'adapter_0.safetensors'):
        assert (whole / name).read_bytes() == (killed / name).read_bytes()
    adapter = read_adapter(whole / 'adapter.safetensors')
    notes, cache = adapter.notes, open_cache(tiny_caches['train'])
    assert (notes.model, notes.base_sha256, notes.steps, notes.weak_labels) == (
        'toy',
        PUBLISHED['toy'].sha256,
        3,
        False,
    )
    assert (notes.prompts.cache, notes.prompts.generator) == (cache.fingerprint.key, 'felzenszwalb')
    assert (notes.prompts.dataset, notes.prompts.split) == ('toypass', 'train')
    assert all(value.abs().max() > 0 for value in adapter.updates.values())

    figures = tmp_path / 'figures.json'
    images = ['--dataset', 'toypass', '--split', 'val', '--data-root', tiny_toypass[0], '--limit', '1']
    files = [whole / 'adapter_0.safetensors', whole / 'adapter.safetensors']
    options = ['--sam', 'toy', '--instances', '3', '--prompt-types', 'box', 'point1', '--json', figures]
    scored = run_tool('score_prompts.py', tiny_caches['val'], *images, *options, '--adapter', *files)
    assert scored.returncode == 0, scored.stderr[-2000:]
    plain, same, adapted = json.loads(figures.read_text())
    assert plain['iou'] == same['iou'] != adapted['iou'] and set(plain['iou']) == {'box', 'point1', 'point1_surest'}
    assert f'| {files[1]} | 3 | {100 * adapted["iou"]["box"]:.2f} |' in scored.stdout


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--steps', '-1'], 'steps -1 is less than 0'),
        (['--prompt-types', 'circle'], "prompt_types 'circle' is none of point1, box"),
        (['--weak-labels'], '--weak-labels is for imported masks'),
        (['--resume'], 'nothing to resume'),
        (['--min-area', '99999'], 'or a smaller --min-area'),
        (['--focal-alpha', 'many'], "--focal-alpha: 'many' is neither a number from 0 to 1 nor count"),
        (['--sam', 'vit_x'], "no SAM is called 'vit_x'"),
        (['--seed', '-1'], "--seed: '-1' is not a whole number from 0"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(adapt, run_tool, tmp_path, flags, message):
    done = run_tool('adapt_sam.py', *adapt, tmp_path / 'new', '--steps', '2', *flags)
    errors = [line for line in done.stderr.splitlines() if 'error: ' in line]
    assert done.returncode == 2 and len(errors) == 1 and message in errors[0], done.stderr[-2000:]
    assert 'Traceback' not in done.stderr and not (tmp_path / 'new').exists()
