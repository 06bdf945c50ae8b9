"""Low-rank updates of SAM's encoder: attached, in a file, merged; and files that are refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import build_tiny_sam
from fuzz import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from stage1_sam_cache import WeightsError, open_cache
from stage1_sam_cache.adaptation.lora import LowRankRows, attach, attached
from stage1_sam_cache.commands import cache_sam, inspect_cache
from stage1_sam_cache.sam.adapter import AdapterNotes, PromptSource, read_adapter, write_adapter
from stage1_sam_cache.sam.sam_generator import SamMaskGenerator
from stage1_sam_cache.sam.settings import SamSettings
from stage1_sam_cache.sam.toy_sam import build_toy_sam
from stage1_sam_cache.sam.weights import PUBLISHED, find_weights, load_sam

BASE = 'a' * 64
NOTES = AdapterNotes(
    model='tiny',
    base_sha256=BASE,
    rank=4,
    steps=3,
    seed=7,
    prompts=PromptSource('0123456789abcdef', 'sam', 'toypass', 'train'),
    weak_labels=False,
    settings={'lr': 1e-4, 'prompt_types': ['point1', 'box']},
)


def trained(sam, seed=0):
    """Updates as after some steps: no ``B`` is 0 any more."""
    rng = torch.Generator().manual_seed(seed)
    parameters = attach(sam)
    with torch.no_grad():
        for name, value in parameters.items():
            if name.endswith('.b'):
                value.copy_(torch.randn(value.shape, generator=rng) * 0.3)
    return parameters


def embed(sam, seed=0):
    size = sam.image_encoder.img_size
    return sam.image_encoder(torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(seed)))


@pytest.fixture(scope='module')
def adapter_file(tmp_path_factory):
    path = tmp_path_factory.mktemp('adapter') / 'adapter.safetensors'
    write_adapter(path, trained(build_tiny_sam()), NOTES)
    return path


def test_updates_have_the_files_names_and_learn_alone():
    sam = build_tiny_sam()
    parameters = attach(sam, rank=3)
    assert list(parameters) == [f'blocks.{i}.attn.qkv.{part}.{ab}' for i in range(2) for part in 'qv' for ab in 'ab']
    assert {tuple(value.shape) for value in parameters.values()} == {(3, 32), (32, 3)}
    assert [name for name, value in sam.named_parameters() if value.requires_grad] == [
        f'image_encoder.{name}' for name in parameters
    ]
    before = {name: value.clone() for name, value in sam.state_dict().items()}
    optimizer = torch.optim.Adam(attached(sam).values(), lr=1e-2, weight_decay=1e-4)
    for _ in range(2):  # A has no gradient while B is 0
        optimizer.zero_grad()
        embed(sam).square().sum().backward()
        optimizer.step()
    changed = [name for name, value in sam.state_dict().items() if not torch.equal(value, before[name])]
    assert changed == [f'image_encoder.{name}' for name in parameters]
    first, again = (attach(build_tiny_sam(), seed=5).values() for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert sum(value.numel() for value in attach(build_toy_sam()).values()) == 15_360


def test_the_update_of_any_rows_is_that_of_the_formula():
    rng = torch.Generator().manual_seed(0)
    linear = nn.Linear(5, 7)
    layer = LowRankRows(linear, {'first': slice(0, 2), 'last': slice(4, 7)}, rank=2, generator=rng)
    for parameter in (layer.first.b, layer.last.b):
        nn.init.normal_(parameter, generator=rng)
    x = torch.randn(3, 4, 5, generator=rng)
    parts = (layer.first, layer.last)
    pairs = [tuple(one.detach().clone().requires_grad_() for one in (part.a, part.b)) for part in parts]
    update = torch.cat([pairs[0][1] @ pairs[0][0], torch.zeros(2, 5), pairs[1][1] @ pairs[1][0]])
    expected = F.linear(x, linear.weight + update, linear.bias)
    torch.testing.assert_close(layer(x), expected)
    layer(x).square().sum().backward()
    expected.square().sum().backward()
    for part, (a, b) in zip(parts, pairs, strict=True):
        torch.testing.assert_close(part.a.grad, a.grad)
        torch.testing.assert_close(part.b.grad, b.grad)
    assert linear.weight.grad is None


@torch.no_grad()
def test_merged_is_attached_and_new_updates_change_nothing(tmp_path):
    plain, sam = build_tiny_sam(), build_tiny_sam()
    parameters = attach(sam)
    assert torch.equal(embed(sam), embed(plain))
    path = tmp_path / 'new' / 'adapter.safetensors'
    write_adapter(path, parameters, NOTES)
    merged = build_tiny_sam()
    read_adapter(path).merge(merged, 'tiny', BASE)
    assert torch.equal(embed(merged), embed(plain))

    sam = build_tiny_sam()
    write_adapter(path, trained(sam), NOTES)
    read_adapter(path).merge(merged, 'tiny', BASE)
    assert (embed(merged) - embed(sam)).abs().max() < 1e-5
    assert (embed(merged) - embed(plain)).abs().max() > 1e-2
    names = [name for name, value in merged.state_dict().items() if not torch.equal(value, plain.state_dict()[name])]
    assert names == [f'image_encoder.blocks.{i}.attn.qkv.weight' for i in range(2)]
    for one, other in zip(merged.image_encoder.blocks, plain.image_encoder.blocks, strict=True):
        changed = (one.attn.qkv.weight != other.attn.qkv.weight).any(1)
        assert changed.tolist() == [True] * 32 + [False] * 32 + [True] * 32  # queries, keys, values


def test_equal_runs_give_equal_bytes_and_what_was_written_is_read(tmp_path, adapter_file):
    for _ in range(5):
        write_adapter(tmp_path / 'again', trained(build_tiny_sam()), NOTES)
        assert (tmp_path / 'again').read_bytes() == adapter_file.read_bytes()
    adapter = read_adapter(adapter_file)
    assert adapter.notes == NOTES
    expected = trained(build_tiny_sam())
    assert adapter.updates.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in adapter.updates.items())
    assert json.dumps(adapter.identity)
    write_adapter(tmp_path / 'again', expected, replace(NOTES, steps=4))
    assert read_adapter(tmp_path / 'again').sha256 != adapter.sha256


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
@examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_wrong_bit_is_noticed(tmp_path, adapter_file, where, bit):
    data = bytearray(adapter_file.read_bytes())
    data[int(where * len(data))] ^= 1 << bit
    damaged = tmp_path / 'damaged.safetensors'
    damaged.write_bytes(data)
    with pytest.raises(WeightsError) as problem:
        read_adapter(damaged)
    assert '\n' not in str(problem.value) and str(damaged) in str(problem.value)


def test_what_is_no_adapter_or_not_a_sound_one_is_refused_in_one_line(tmp_path, adapter_file):
    path = tmp_path / 'wrong.safetensors'
    updates = {name: value.detach() for name, value in trained(build_tiny_sam()).items()}
    first = next(iter(updates))
    cases = {
        'cannot be read': None,
        'damaged or no safetensors file': lambda: path.write_bytes(adapter_file.read_bytes()[:-1]),
        'no adapter file: it lacks the notes': lambda: save_file({'x': torch.zeros(1)}, path),
        'damaged: its notes cannot be read': lambda: save_file({'x': torch.zeros(1)}, path, {'adapter': '[]'}),
        'holds NaN or infinity': lambda: write_adapter(path, {**updates, first: updates[first] / 0}, NOTES),
        'adapter format 2, this version reads 1': lambda: write_adapter(path, updates, replace(NOTES, format=2)),
        "(rank is '4')": lambda: write_adapter(path, updates, replace(NOTES, rank='4')),
    }
    for text, make in cases.items():
        if make:
            make()
        with pytest.raises(WeightsError) as problem:
            read_adapter(path)
        assert text in str(problem.value) and str(path) in str(problem.value) and '\n' not in str(problem.value)


def test_an_adapter_of_other_weights_is_refused_and_changes_nothing(tmp_path):
    path = tmp_path / 'adapter.safetensors'
    updates = {name: value.detach() for name, value in trained(build_tiny_sam()).items()}
    last = list(updates)[-1]
    cases = [
        (updates, {'model': 'vit_b'}, 'adapts SAM vit_b, not tiny; give --sam vit_b'),
        (updates, {'base_sha256': 'b' * 64}, f'adapts weights of SHA-256 {"b" * 64}; these have {BASE}'),
        ({k: v for k, v in updates.items() if k != last}, {}, f'does not fit SAM tiny: {last} is missing'),
        ({**updates, 'blocks.2.attn.qkv.q.a': torch.zeros(4, 32)}, {}, 'blocks.2.attn.qkv.q.a belongs to no layer'),
        ({**updates, last: updates[last].T}, {}, f'{last} has shape (4, 32), not (32, 4)'),
        (updates, {'rank': 8}, 'has shape (4, 32), not (8, 32)'),
    ]
    for values, notes, text in cases:
        write_adapter(path, values, replace(NOTES, **notes))
        sam = build_tiny_sam()
        with pytest.raises(WeightsError) as problem:
            read_adapter(path).merge(sam, 'tiny', BASE)
        assert text in str(problem.value) and str(path) in str(problem.value) and '\n' not in str(problem.value)
        assert all(torch.equal(a, b) for a, b in zip(sam.parameters(), build_tiny_sam().parameters(), strict=True))


def test_a_fast_level_has_the_adapted_weights_and_0_steps_change_no_mask(tmp_path, adapter_file, picture):
    def generate(path):
        adapter = read_adapter(path) if path else None
        settings = SamSettings(points_per_side=2, pred_iou_thresh=-100.0, stability_score_thresh=0.0)
        generator = SamMaskGenerator(build_tiny_sam(), 'tiny', BASE, settings, level='fp32-fast', adapter=adapter)
        return generator.generate(picture(40, 64))

    new = tmp_path / 'new.safetensors'
    write_adapter(new, attach(build_tiny_sam()), replace(NOTES, steps=0))
    plain, same, adapted = generate(None), generate(new), generate(adapter_file)
    np.testing.assert_array_equal(plain.masks, same.masks)
    np.testing.assert_array_equal(plain.predicted_iou, same.predicted_iou)
    assert not np.array_equal(plain.predicted_iou, adapted.predicted_iou)


ONE_WINDOW = ('--window', '100x512', '--stride', '512', '--overlap-source', 'window', '--points-per-side', '2')


def test_a_cache_of_adapted_masks_from_the_command_line(tmp_path, tiny_toypass, capsys):
    base = PUBLISHED['toy'].sha256
    of_val = replace(NOTES.prompts, split='val')
    notes = replace(NOTES, model='toy', base_sha256=base, prompts=of_val, weak_labels=True)
    new, adapted = tmp_path / 'new.safetensors', tmp_path / 'adapted.safetensors'
    write_adapter(new, attach(load_sam('toy', find_weights('toy'))[0]), notes)
    write_adapter(adapted, trained(load_sam('toy', find_weights('toy'))[0]), replace(notes, prompts=NOTES.prompts))
    root = tmp_path / 'cache'
    images = ['--dataset', 'toypass', '--split', 'val', '--data-root', str(tiny_toypass[0]), '--limit', '1']
    command = [*images, '--sam', 'toy', *ONE_WINDOW, '--device', 'cpu', '--out', str(root)]
    texts = []
    for more in ([], ['--adapter', str(new)], ['--adapter', str(adapted)]):
        assert cache_sam.main([*command, *more]) == 0
        texts.append(capsys.readouterr())
    assert 'masks by adapted_toy_sam toy (not SAM) on cpu' in texts[1].out
    assert 'adapted to toypass val and their labels; scores of these masks' in texts[1].err
    assert 'adapted to' not in texts[0].err + texts[2].err  # its prompts are of the training images

    plain = open_cache(root, {'generator': {'name': 'toy_sam'}})
    caches = [open_cache(root, {'generator': {'adapter': {'sha256': read_adapter(f).sha256}}}) for f in (new, adapted)]
    (image,) = plain
    masks, same, other = (cache[image].windows[0] for cache in (plain, *caches))
    np.testing.assert_array_equal(masks.masks, same.masks)
    np.testing.assert_array_equal(masks.predicted_iou, same.predicted_iou)
    assert not np.array_equal(masks.predicted_iou, other.predicted_iou)

    assert inspect_cache.main(['status', str(caches[0].path)]) == 0
    told = f'of toy {base[:16]}; prompts from masks by sam of toypass val, cache {notes.prompts.cache}; labels of these'
    assert told in capsys.readouterr().out
    assert inspect_cache.main(['status', str(plain.path)]) == 0
    assert 'adapter' not in capsys.readouterr().out


def test_where_an_adapter_has_no_place_it_is_refused(tmp_path, adapter_file, image_folder, capsys):
    images = ['--images', str(image_folder('a')), '--device', 'cpu', '--out', str(tmp_path / 'cache')]
    adapter = ['--adapter', str(adapter_file)]
    for flags in (['--generator', 'felzenszwalb'], ['--import', str(tmp_path), '--import-name', 'sam2']):
        with pytest.raises(SystemExit) as end:
            cache_sam.main([*images[:2], *flags, *adapter])
        assert end.value.code == 2 and '--adapter is for --generator sam' in capsys.readouterr().err
    with pytest.raises(WeightsError, match='adapts SAM tiny, not vit_h; give --sam tiny'):
        cache_sam.main([*images, *adapter])  # before any weights are looked for
    other = tmp_path / 'other.safetensors'
    write_adapter(other, read_adapter(adapter_file).updates, replace(NOTES, model='toy'))
    with pytest.raises(WeightsError, match=f'adapts weights of SHA-256 {BASE}; these have {PUBLISHED["toy"].sha256}'):
        cache_sam.main([*images, '--sam', 'toy', '--adapter', str(other)])
    with pytest.raises(WeightsError, match='none: cannot be read'):
        cache_sam.main([*images, '--adapter', str(tmp_path / 'none')])
    assert not (tmp_path / 'cache').exists()
