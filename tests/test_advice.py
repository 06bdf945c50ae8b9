"""What messages tell users to do: the tools and flags exist where a message can appear, and the commands help."""

import ast
import inspect
import io
import re
import shlex
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT
from mmengine.registry import Registry, init_default_scope
from mmseg import registry
from PIL import Image
from test_docs import FLAG, SUBCOMMANDS
from test_project import imports_of, modules_of
from test_quick_answers import TOOLS, module_of
from test_source_training import load_tool

from stage1_sam_cache.commands.names import CONSOLE_COMMANDS
from stage1_sam_cache.errors import MaskCacheError
from stage2_distill import components  # noqa: F401
from stage2_distill.training.cache_check import build_with_cache, expected_settings
from stage2_distill.training.config_keys import KNOWN
from stage2_distill.training.experiment import read_config

PACKAGES = ('stage1_sam_cache', 'stage2_distill', 'commands', 'toypass', 'ablation', 'benchmarks')
MODULES = {name: file for package in PACKAGES for name, file in modules_of(package).items()}


def texts_of(file):
    """The texts of a module, with a gap in place of each value; docstrings and lone flags are no messages."""
    tree = ast.parse(file.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield ''.join(part.value if isinstance(part, ast.Constant) else '\0' for part in node.values)
            continue
        text = node.value if isinstance(node, ast.Constant) and id(node) not in docstrings | parts else None
        if isinstance(text, str) and not FLAG.fullmatch(text):
            yield text


@cache
def help_of(tool):
    """The help of a tool, with that of its subcommands."""
    with redirect_stdout(io.StringIO()) as printed:
        for words in ([], *([name] for name in SUBCOMMANDS.get(tool, ()))):
            with pytest.raises(SystemExit):
                load_tool(tool.removesuffix('.py')).main([*words, '--help'])
    return printed.getvalue()


def has(tool, flag):
    return re.search(rf'(?<![\w-]){flag}(?![\w-])', help_of(tool)) is not None


@cache
def imported_by(module):
    """The project's modules that a module imports, itself or through others."""
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += imports_of(MODULES[name], MODULES) & set(MODULES)
    return found


def users_of(module):
    """The tools in which the messages of a module can appear."""
    if module in PRINTED_BY:
        return [f'{tool}.py' for tool in PRINTED_BY[module].split()]
    if module.startswith('stage2_distill.training.'):
        return ['train.py']
    users = []
    for tool in TOOLS:
        names = imported_by(module_of(tool))
        if 'stage2_distill.training.experiment' in names:
            names = names | imported_by('stage2_distill.components')  # which configs import
        users += [tool] if module in names else []
    return users


# Where not every tool that imports a module can show its messages.
_TRAINED = 'train train_toy_sam'
_LISTED = 'cache_sam cache_truth cache_components browse_dataset inspect_cache predict'
_LOADING = 'train test predict export_student browse_pseudo_labels judge_unlabelled check_paper score_masks '
_LOADING += 'convert_weights report export_labels'
_LABELS = 'browse_pseudo_labels judge_unlabelled export_labels'
PRINTED_BY = {
    'commands.demo': '',  # flags of the launcher that it calls
    'stage1_sam_cache.cache.writer': 'cache_sam cache_truth cache_components',  # the benchmark's caches are temporary
    'stage1_sam_cache.commands.shared_flags': _LISTED,
    'stage1_sam_cache.commands.training_advice': 'cache_sam',
    'stage1_sam_cache.data.catalog': f'{_LISTED} check_paper test train',
    'stage1_sam_cache.data.own_labels': f'test train {_LABELS}',
    'stage1_sam_cache.sam.adapter': 'cache_sam',  # no other tool reads adapters
    'stage1_sam_cache.sam.on_device': 'cache_sam',  # the benchmark's SAM has the settings of its own flags
    'stage1_sam_cache.sam.sam_generator': 'cache_sam',  # as the last
    'stage1_sam_cache.sam.network_weights': 'cache_sam',  # as the next
    'stage1_sam_cache.sam.weights': 'cache_sam',  # the benchmark takes the weights that come with the project
    'stage2_distill.checkpoints.hub_files': _LOADING,
    'stage2_distill.checkpoints.safe_checkpoints': f'train_toy_sam {_LOADING}',
    'stage2_distill.checkpoints.fit': f'train test {_LABELS} check_paper score_masks',
    'stage2_distill.commands.flags': '',
    'stage2_distill.commands.label_panels': f'{_LABELS} report',
    'stage2_distill.commands.train': 'train',  # train_toy_sam2 gives it neither of the two
    'stage2_distill.data.stored_lesson': 'train',
    'stage2_distill.deployment.outputs': 'predict',
    'stage2_distill.omnisam.pseudo_labels': 'train',  # score_labels writes none
    'stage2_distill.report.model_card': '',  # commands for the reader of a card
    'stage2_distill.training.cache_check': f'train test {_LABELS} check_paper',
    'stage2_distill.training.checkpoint_hook': _TRAINED,
    'stage2_distill.training.config_keys': f'train test {_LABELS} check_paper',
    'stage2_distill.training.hooks': _TRAINED,
    'toypass.truth.truth_files': 'cache_truth score_masks',  # score_labels looks first
}
# Flags that a message names for some of its tools only, because the others never get there.
PARTLY = {('stage1_sam_cache.commands.shared_flags', '--images'): ('browse_dataset.py', 'cache_truth.py')}
PARTLY[('stage1_sam_cache.commands.shared_flags', '--dataset')] = ('cache_truth.py',)
PARTLY[('stage1_sam_cache.adaptation.window_dataset', '--min-area')] = ('benchmark.py',)  # reads no windows
PARTLY[('stage2_distill.checkpoints.safe_checkpoints', '--weights-dir')] = ('train_toy_sam.py',)  # fetches nothing
_SCORED = ('test.py', *(f'{tool}.py' for tool in _LABELS.split()), 'check_paper.py', 'score_masks.py')
PARTLY[('stage2_distill.checkpoints.fit', '--load-from')] = _SCORED  # these do not begin training


def test_every_flag_that_a_message_names_exists_where_it_can_appear():
    wrong, seen = [], 0
    for module, file in MODULES.items():
        for text in texts_of(file):
            before, *calls = re.split(r'(?<![\w/])tools/(?=\w+\.py\b)', text)
            for call in calls:  # flags behind a tool are that tool's, up to the next part of the sentence
                tool, _, rest = call.partition('.py')
                named = FLAG.findall(re.split(r'[,;(]', rest)[0])
                seen += len(named)
                wrong += [(module, f'{tool}.py', flag) for flag in named if not has(f'{tool}.py', flag)]
            for flag in set(FLAG.findall(before)):
                seen += 1
                for tool in users_of(module):
                    covered = 'in a config' in text and re.search(r'^ +config ', help_of(tool), re.M)
                    if not (has(tool, flag) or covered or tool in PARTLY.get((module, flag), ())):
                        wrong.append((module, tool, flag, text))
    assert wrong == [], wrong
    assert seen > 60


_TOPS = 'train_dataloader|val_dataloader|test_dataloader|model|optim_wrapper|param_scheduler|train_cfg|default_hooks'
KEYS = re.compile(rf'--cfg-options ([a-z_]+)=|(?<![\w.])((?:{_TOPS})(?:\.\w+)+)(?![\w(])')


def arguments(kind):
    """What a component of a config takes, by its registered name."""
    registries = [value for value in vars(registry).values() if isinstance(value, Registry)]
    found = next(filter(None, (known.get(kind) for known in registries)), None)
    bases = found.__mro__[:-1] if isinstance(found, type) else [found] if found else []
    return {name for base in bases for name in inspect.signature(base).parameters}


def is_key(config, key):
    """Whether a config has a dotted key, or the component at its place takes it."""
    node, (top, *rest) = config, key.split('.')
    if not rest:
        return top in KNOWN
    for part in (top, *rest):
        if isinstance(node, (list, tuple)):
            if not part.isdecimal():
                return False
            node = node[int(part)]
        elif part in (node or {}):
            node = node[part]
        else:
            return 'type' in (node or {}) and part in arguments(node['type'])
    return True


def test_every_key_of_a_config_that_a_message_names_is_read():
    names = ('goodsam_b0_own.py', 'goodsam_b0_onnx.py', 'goodsam_b0_toypass.py', 'source/segformer_b0_toypass.py')
    names += ('omnisam/source_toypass.py', 'omnisam/adapt_toypass.py')
    configs = [read_config(str(ROOT / 'mmseg_configs' / name)) for name in names]
    init_default_scope('mmseg')
    named = {}
    for module, file in MODULES.items():
        if module.startswith('stage'):
            for text in texts_of(file):
                keys = {key for groups in KEYS.findall(text) for key in groups}
                named |= {key: module for key in keys if key and not key.endswith('.safetensors')}  # a file's name
    assert [(key, module) for key, module in named.items() if not any(is_key(each, key) for each in configs)] == []
    assert {'model.grid.stride', 'store_lessons', 'train_cfg.max_iters'} <= named.keys()
    assert len(named) > 10
    assert not any(is_key(each, key) for each in configs for key in ('model.grid.strid', 'train_cfg.max_iter', 'stor'))


def follow(remedy):
    """Type the commands of a remedy like 'run A, then B'."""
    first, second = re.fullmatch(r'run (tools/.+), then (tools/.+)', remedy).groups()
    for words in map(shlex.split, (first, second)):
        assert load_tool(Path(words[0]).stem).main(words[1:]) == 0


def test_masks_of_replaced_and_damaged_images_are_made_again_by_the_commands_of_the_error(tmp_path, image_folder):
    images, cache = image_folder('a', 'b c', 'd', size=(64, 192)), tmp_path / 'my cache'
    flags = ['--generator', 'felzenszwalb', '--scales', '50', '80', '--min-size', '20', '--window', '64x64']
    build = ['--images', str(images), *flags, '--stride', '32', '--wrap', '--out', str(cache)]
    assert load_tool('cache_sam').main(build) == 0
    config = read_config('goodsam_b0_own.py', {'model.grid': {'window': (64, 64), 'stride': 32, 'wrap': True}})
    dataset = {**config.train_dataloader.dataset, 'images': str(images), 'cache': str(cache)}
    dataset['expect'] = expected_settings(config)
    init_default_scope('mmseg')
    assert len(build_with_cache(dict(dataset))) == 3
    for name in ('a', 'b c'):
        Image.open(images / f'{name}.png').rotate(180).save(images / f'{name}.png')
    with pytest.raises(MaskCacheError, match='is not the image whose masks') as stale:
        build_with_cache(dict(dataset))
    follow(stale.value.remedy)
    (folder,) = cache.iterdir()
    next(folder.glob('d-*.h5')).write_bytes(b'')
    with pytest.raises(MaskCacheError, match='has 0 bytes') as damaged:
        build_with_cache(dict(dataset))
    follow(damaged.value.remedy)
    assert len(build_with_cache(dict(dataset)).mask_cache) == 3
    assert list(cache.iterdir()) == [folder]  # the cache that was there, not one beside it


@pytest.mark.parametrize('tool', CONSOLE_COMMANDS)
def test_flags_are_shown_in_groups(tool):
    """No list of help is so long that a flag has to be searched for in it."""
    # up to the next line that begins at the margin
    loose, *_ = re.split(r'^(?=\S)', help_of(Path(tool).name).partition('\noptions:\n')[2], flags=re.M)
    assert 0 < len(re.findall(r'^  -', loose, re.M)) <= 8
