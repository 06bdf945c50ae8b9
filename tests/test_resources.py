"""Errors of memory, devices and input sizes are one line, whatever type a library gives them."""

import numpy as np
import pytest
import torch

from stage1_sam_cache.commands import cli
from stage1_sam_cache.errors import DeviceError, InputSizeError, OutOfMemory
from stage1_sam_cache.system import interruption
from stage1_sam_cache.system.resources import explain


def raised(call):
    with pytest.raises(BaseException) as info:
        call()
    return info.value


@pytest.mark.parametrize(
    ('call', 'kind', 'part'),
    [
        (lambda: torch.empty(10**14), OutOfMemory, '400000000000000 bytes were asked for'),
        (lambda: np.empty(10**15), OutOfMemory, 'not enough memory on this machine'),
        (lambda: bytearray(2**62), OutOfMemory, 'not enough memory on this machine'),
        (lambda: torch.device('nonsense'), DeviceError, 'Expected one of cpu, cuda'),
        (lambda: torch.device('cuda:x'), DeviceError, "Invalid device string: 'cuda:x'"),
        (lambda: torch.zeros(1, device='hpu'), DeviceError, 'the device failed'),
        (lambda: torch.nn.Conv2d(3, 3, 7)(torch.zeros(1, 3, 4, 4)), InputSizeError, 'too small for the network'),
        (lambda: torch.zeros(2) + torch.zeros(3), type(None), ''),
        (lambda: open('/no/such/file'), type(None), ''),  # noqa: PTH123, SIM115
        (lambda: {}['out of memory'], type(None), ''),
    ],
)
def test_what_libraries_raise_is_told_apart(call, kind, part):
    explained = explain(raised(call))
    assert isinstance(explained, kind)
    assert part in str(explained or '')
    assert len(str(explained).splitlines()) == 1


@pytest.mark.parametrize(
    ('problem', 'kind', 'part'),
    [
        (torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0'), OutOfMemory, '2.00 GiB'),
        (RuntimeError('CUDA error: invalid device ordinal\nCUDA kernel'), DeviceError, 'device ordinal'),
        (RuntimeError('Found no NVIDIA driver on your system. Please'), DeviceError, 'Found no NVIDIA driver'),
        (AssertionError('Torch not compiled with CUDA enabled'), DeviceError, 'not compiled with CUDA'),
        (
            RuntimeError("InvalidCxxCompiler: No working C++ compiler found in config.cpp.cxx: (None, 'g++')\n\nSet"),
            DeviceError,
            'cannot compile here (No working C++ compiler); leave compiling out',
        ),
        (RuntimeError('std::bad_alloc'), OutOfMemory, 'not enough memory'),
        (
            RuntimeError('Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback\n'
                         "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            OutOfMemory,
            'not enough memory on this machine',
        ),
        (
            RuntimeError('DataLoader worker (pid 77) is killed by signal: Killed. '),
            OutOfMemory,
            'a DataLoader worker (pid 77) is killed by signal: Killed, most often because memory ran out',
        ),
    ],
)  # fmt: skip
def test_what_only_other_machines_raise(problem, kind, part):
    explained = explain(problem)
    assert isinstance(explained, kind)
    assert part in str(explained)


@pytest.mark.parametrize(
    'call', [lambda: torch.empty(10**14), lambda: torch.device('nonsense'), lambda: bytearray(2**62)]
)
def test_every_command_ends_with_one_line(call, capsys, monkeypatch):
    monkeypatch.setattr(interruption, 'listen', lambda: None)
    with pytest.raises(SystemExit) as end:
        cli.run_command(call)
    assert end.value.code == cli.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('error: ')


def test_a_mistake_of_the_project_still_has_its_traceback(monkeypatch):
    monkeypatch.setattr(interruption, 'listen', lambda: None)
    with pytest.raises(RuntimeError, match='must match the size'):
        cli.run_command(lambda: torch.zeros(2) + torch.zeros(3))
