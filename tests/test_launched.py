"""How processes know that they were started together, and what the commands do about it."""

import pytest
from conftest import ROOT

from stage1_sam_cache.errors import LaunchError
from stage1_sam_cache.system.launched import Launch, launch_of, require_one_process
from stage2_distill.commands.flags import launcher_of

TORCHRUN = {'RANK': '1', 'WORLD_SIZE': '2', 'LOCAL_RANK': '1'}
SRUN = {'SLURM_PROCID': '2', 'SLURM_STEP_NUM_TASKS': '4', 'SLURM_NTASKS': '4'}
MPIRUN = {'OMPI_COMM_WORLD_RANK': '0', 'OMPI_COMM_WORLD_SIZE': '3', 'OMPI_COMM_WORLD_LOCAL_RANK': '0'}
BATCH_SCRIPT = {'SLURM_PROCID': '0', 'SLURM_NTASKS': '4'}  # srun, which would start four, was not used


@pytest.mark.parametrize(
    ('environment', 'expected'),
    [
        ({}, Launch()),
        ({'RANK': '3'}, Launch()),
        (TORCHRUN, Launch('torchrun', 1, 2)),
        (TORCHRUN | SRUN, Launch('torchrun', 1, 2)),
        (SRUN, Launch('srun', 2, 4)),
        (SRUN | {'SLURM_STEP_NUM_TASKS': '1', 'SLURM_PROCID': '0'}, Launch()),
        (BATCH_SCRIPT, Launch()),
        (MPIRUN, Launch('mpirun', 0, 3)),
    ],
)
def test_a_process_knows_who_started_it(environment, expected):
    assert launch_of(environment) == expected


@pytest.mark.parametrize('odd', [{'RANK': 'x'}, {'RANK': '2'}, {'WORLD_SIZE': '-1'}])
def test_variables_that_make_no_sense_are_refused(odd):
    with pytest.raises(LaunchError):
        launch_of(TORCHRUN | odd)


def test_torchruns_processes_work_together_without_a_flag():
    assert launcher_of('none', TORCHRUN) == launcher_of('pytorch', TORCHRUN) == 'pytorch'
    assert launcher_of('none', {}) == launcher_of('none', BATCH_SCRIPT) == 'none'
    assert launcher_of('slurm', SRUN) == 'slurm'


@pytest.mark.parametrize(
    ('given', 'environment', 'told'),
    [
        ('none', SRUN, 'srun has started 4 processes, and none knows of the others; add --launcher slurm'),
        ('none', MPIRUN, 'add --launcher mpi'),
        ('pytorch', {}, '--launcher pytorch is for processes that torchrun has started'),
        ('slurm', {}, '--launcher slurm is for processes that srun has started'),
    ],
)
def test_a_launcher_that_does_not_fit_is_refused(given, environment, told):
    with pytest.raises(LaunchError, match=told):
        launcher_of(given, environment)


def test_tools_for_one_process_refuse_to_be_one_of_several():
    require_one_process('tools/x.py', {})
    require_one_process('tools/x.py', TORCHRUN | {'RANK': '0', 'WORLD_SIZE': '1'})
    with pytest.raises(LaunchError, match=r'tools/x\.py works in one process, and torchrun has started 2 of it'):
        require_one_process('tools/x.py', TORCHRUN)
    # All that write files but for those that share their work; of inspect_cache.py only the export does.
    shared = {'cache_sam', 'train', 'test', 'predict', 'export_labels', 'inspect_cache', 'benchmark'}
    export = (ROOT / 'stage1_sam_cache/commands/export_masks.py').read_text()
    assert "require_one_process('tools/inspect_cache.py export', os.environ)" in export
    for tool in {path.stem for path in (ROOT / 'tools').glob('*.py')} - shared:
        folders = ('tools/commands', 'stage1_sam_cache/commands', 'stage2_distill/commands')
        places = [ROOT / folder / f'{tool}.py' for folder in folders]
        text = ''.join(place.read_text() for place in places if place.exists())
        assert f"require_one_process('tools/{tool}.py', os.environ)" in text, tool
