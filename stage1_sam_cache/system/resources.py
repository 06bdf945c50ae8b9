"""What libraries raise when memory or a device is missing or an input is too small, as one line with a remedy.

PyTorch, NumPy and OpenCV raise these as errors of many types, most of them plain ``RuntimeError`` that only the text
tells apart. Nothing is imported here: an error of a library that is not loaded can't occur.
"""

from __future__ import annotations

import re

from stage1_sam_cache.errors import DeviceError, GoodSAMError, InputSizeError, OutOfMemory

_MEMORY = re.compile(
    r"can't allocate memory|not enough memory|out of memory|\bbad[_ ]alloc|Insufficient memory|Cannot allocate memory"
    r'|Unable to allocate|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED',
    re.IGNORECASE,
)
_WORKER = re.compile(r'DataLoader worker \(pid.*?(?:killed by signal: \w+|exited unexpectedly)', re.DOTALL)
_DEVICE = re.compile(
    r'\bCUDA (?:error|driver|runtime)|\bNo CUDA GPUs|Torch not compiled with|Found no NVIDIA driver|HIP error|'
    r'\bNCCL\b|\bcuDNN\b|CUDNN_STATUS|CUBLAS_STATUS|Expected one of cpu, cuda|Invalid device|invalid device ordinal|'
    r"Cannot access accelerator device|No module named 'torch\.\w+'|with arguments from the '\w+' backend|XPU device|"
    r'deserialize object on a',
)
_NO_COMPILER = re.compile(
    r'No working C\+\+ compiler|C\+\+ compile error|working triton installation|too old to be supported by the triton'
)
_TOO_SMALL = re.compile(r"Kernel size can't be greater than actual input size|Output size is too small")
_AMOUNT = re.compile(r'(?:[Tt]ried to allocate|you tried to allocate) ([\d.]+ ?(?:[KMGT]iB|bytes))')


def explain(problem: BaseException) -> GoodSAMError | None:
    """Return an error that a user can act on, if memory, the device or the input's size is what failed.

    Args:
        problem: Anything that was raised, also in a worker of PyTorch's ``DataLoader``.

    Returns:
        ``OutOfMemory``, ``DeviceError``, for compilers too, or ``InputSizeError``; None if the cause is another.
    """
    if isinstance(problem, OutOfMemory):
        return problem
    text = str(problem)
    kind = type(problem).__name__
    if isinstance(problem, MemoryError) or kind in ('OutOfMemoryError', '_ArrayMemoryError'):
        return _out_of_memory(text)
    if not isinstance(problem, (RuntimeError, AssertionError, ImportError, OSError)) and kind != 'error':  # cv2.error
        return None
    killed = _WORKER.search(text)
    if killed:
        return OutOfMemory(
            f'a {" ".join(killed[0].split())}, most often because memory ran out',
            'use fewer workers (num_workers), a smaller batch or smaller images',
        )
    if _MEMORY.search(text) and not (isinstance(problem, OSError) and problem.filename):
        return _out_of_memory(text)
    if missing := _NO_COMPILER.search(text):
        return DeviceError(
            f'PyTorch cannot compile here ({missing[0]})',
            'leave compiling out, or install g++ with the headers of Python, and Triton for a GPU',
        )
    if _TOO_SMALL.search(text):
        return InputSizeError('an image or window is too small for the network', 'make images or windows larger')
    if kind in ('AcceleratorError', 'DistBackendError') or _DEVICE.search(text):
        return DeviceError(f'the device failed: {_first_line(text)}', 'choose another device, or look at it')
    return None


def _out_of_memory(text: str) -> OutOfMemory:
    amount = _AMOUNT.search(text)
    asked = f' ({amount[1]} were asked for)' if amount else ''
    where = 'the GPU' if 'CUDA' in text and 'CPUAllocator' not in text else 'this machine'
    return OutOfMemory(f'there is not enough memory on {where}{asked}', 'use smaller images, or fewer at once')


def _first_line(text: str) -> str:
    """The first line that says something, without what PyTorch adds for its developers."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if _DEVICE.search(line)] or lines or ['no message']
    return told[0][:200].rstrip('.')
