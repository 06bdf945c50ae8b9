"""Parts of the work: --shard, torchrun's and SLURM's variables, and the device."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stage1_sam_cache.build.shards import Shard, parse_shard, shard_of_environment
from stage1_sam_cache.errors import Stage1Error
from stage1_sam_cache.system.devices import choose_device


def torchrun(rank, world, **more):
    return {'RANK': str(rank), 'WORLD_SIZE': str(world), 'LOCAL_RANK': str(rank), **more}


def slurm(task, first, last, step=1):
    """What SLURM sets for one task of ``--array=first-last:step``."""
    count = len(range(first, last + 1, step))
    values = {'ID': task, 'MIN': first, 'MAX': last, 'STEP': step, 'COUNT': count}
    return {f'SLURM_ARRAY_TASK_{name}': str(value) for name, value in values.items()}


def part(environment):
    shard = shard_of_environment(environment)
    return shard.index, shard.count


# --- parts ---


def test_a_shard_takes_every_n_th_item():
    assert Shard(1, 3).of(['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']) == ['b', 'e', 'h']


def test_the_default_shard_is_the_whole_list():
    assert Shard().of([3, 1, 2]) == [3, 1, 2]


def test_more_shards_than_items_leave_some_empty():
    assert [Shard(i, 4).of('ab') for i in range(4)] == [['a'], ['b'], [], []]


@given(st.lists(st.integers()), st.integers(1, 12))
def test_shards_have_each_item_once_and_differ_by_at_most_one_item(items, count):
    numbered = list(enumerate(items))
    parts = [Shard(i, count).of(numbered) for i in range(count)]
    assert sorted(item for part in parts for item in part) == numbered
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


# --- --shard ---


@pytest.mark.parametrize(('text', 'expected'), [('0/1', (0, 1)), ('2/8', (2, 8)), ('7/8', (7, 8)), ('09/10', (9, 10))])
def test_shard_i_of_n_counts_from_zero(text, expected):
    shard = parse_shard(text)
    assert (shard.index, shard.count) == expected


@pytest.mark.parametrize(
    'text',
    ['', '/', '3', '8/8', '9/8', '0/0', '-1/8', '1/-8', '1/', '/8', '1/2/3', '1.0/2', 'a/b', '1 /2', '+1/2', '²/3'],
)
def test_text_that_is_no_shard_is_refused(text):
    with pytest.raises(ValueError, match='is not i/n'):
        parse_shard(text)


# --- launchers ---


def test_without_a_launcher_the_whole_list_is_this_process_s():
    assert part({}) == (0, 1)
    assert part({'HOME': '/root', 'SLURM_JOB_ID': '7', 'SLURM_PROCID': '0'}) == (0, 1)


@pytest.mark.parametrize('rank', range(4))
def test_each_torchrun_process_has_its_rank_s_part(rank):
    assert part(torchrun(rank, 4)) == (rank, 4)


@pytest.mark.parametrize(
    'lone', [{'RANK': '3'}, {'RANK': '3', 'WORLD_SIZE': '4'}, {'LOCAL_RANK': '3'}, {'WORLD_SIZE': '4', 'RANK': 'x'}]
)
def test_a_rank_that_torchrun_did_not_set_means_nothing(lone):
    assert part(lone) == (0, 1)


@pytest.mark.parametrize(
    ('first', 'last', 'step'),
    [(0, 7, 1), (1, 8, 1), (5, 5, 1), (0, 9, 3), (1, 10, 3), (0, 10, 3), (2, 8, 2)],
    ids='{}'.format,
)
def test_the_tasks_of_a_slurm_array_are_its_parts_in_order(first, last, step):
    tasks = range(first, last + 1, step)
    assert [part(slurm(task, first, last, step)) for task in tasks] == [(i, len(tasks)) for i in range(len(tasks))]


def test_slurm_tasks_that_each_run_torchrun_share_the_list_among_all_processes():
    parts = [part(slurm(task, 1, 3) | torchrun(rank, 2)) for task in (1, 2, 3) for rank in (0, 1)]
    assert parts == [(i, 6) for i in range(6)]


@pytest.mark.parametrize(
    ('environment', 'sources'),
    [
        ({}, set()),
        (torchrun(0, 2), {'torchrun'}),
        (slurm(0, 0, 3), {'SLURM'}),
        (slurm(0, 0, 3) | torchrun(0, 2), {'SLURM', 'torchrun'}),
    ],
    ids=['alone', 'torchrun', 'slurm', 'both'],
)
def test_a_shard_says_which_launcher_gave_it(environment, sources):
    source = shard_of_environment(environment).source
    assert {name for name in ('SLURM', 'torchrun') if name in source} == sources


@pytest.mark.parametrize(
    'environment',
    [
        {'SLURM_ARRAY_TASK_ID': '2'},
        {'SLURM_ARRAY_TASK_ID': '2', 'SLURM_ARRAY_TASK_MIN': '0'},
        slurm(2, 0, 7) | {'SLURM_ARRAY_TASK_MAX': ''},
        slurm(2, 0, 7) | {'SLURM_ARRAY_TASK_ID': 'two'},
        torchrun('', 4),
        torchrun(1, 'four'),
        torchrun('1.0', 4),
    ],
    ids=str,
)
def test_incomplete_variables_are_refused(environment):
    with pytest.raises(Stage1Error, match=r'incomplete.*--shard i/n'):
        shard_of_environment(environment)


@pytest.mark.parametrize(
    'environment',
    [
        slurm(8, 0, 7),
        slurm(0, 1, 8),
        slurm(2, 0, 7) | {'SLURM_ARRAY_TASK_STEP': '0'},
        torchrun(4, 4),
        torchrun(-1, 4),
        torchrun(0, 0),
        torchrun(0, -2),
        slurm(0, 0, 1) | torchrun(3, 2),
        slurm(1, 0, 1) | torchrun(-1, 2),
    ],
    ids=str,
)
def test_variables_that_contradict_each_other_are_refused(environment):
    with pytest.raises(Stage1Error, match=r'--shard i/n'):
        shard_of_environment(environment)


def test_a_slurm_array_with_holes_is_refused_as_nobody_would_do_the_missing_parts():
    # --array=1,3,4: MIN 1, MAX 4, but only 3 tasks.
    with pytest.raises(Stage1Error, match=r'--shard i/n'):
        shard_of_environment(slurm(3, 1, 4) | {'SLURM_ARRAY_TASK_COUNT': '3'})


# --- devices ---


def test_the_cpu_is_a_device():
    assert choose_device('cpu', {}) == torch.device('cpu')
    assert choose_device('cpu', torchrun(1, 2)) == torch.device('cpu')


def test_auto_is_a_gpu_where_there_is_one():
    assert choose_device('auto', {}).type == ('cuda' if torch.cuda.is_available() else 'cpu')


@pytest.mark.parametrize('name', ['', 'gpu', 'CPU', 'nonsense', 'cuda:99', 'cuda:x', 'cuda:-1', 'hpu'])
def test_a_device_that_is_not_there_is_refused_by_name(name):
    with pytest.raises(Stage1Error, match=f"'{name}' cannot be used"):
        choose_device(name, {})


def test_a_process_without_a_gpu_of_its_own_is_told_which_one_is_missing():
    with pytest.raises(Stage1Error, match="'cuda:99' cannot be used"):
        choose_device('cuda', torchrun(99, 100))
