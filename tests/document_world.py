"""A folder as the documents assume it, at tiny size: data, weights to download, and SLURM; networks by tests/tiny."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from conftest import ROOT
from fork_server import STAGE_2
from PIL import Image
from tiny.tool_server import CLIENT

TINY = ROOT / 'tests/tiny'
# The real one, with two processes instead of more.
TORCHRUN = """#!/usr/bin/env bash
set -eu
while [ "$1" != --nproc-per-node ]; do flags+=("$1"); shift; done
exec {torchrun} "${{flags[@]}}" --nproc-per-node "$(($2 > 2 ? 2 : $2))" "${{@:3}}"
"""
# Runs a copy of a batch script, as SLURM does, each task of an array after the other.
SBATCH = """#!/usr/bin/env bash
set -eu
array= gpus=1
while [[ $1 == --* ]]; do
    case $1 in
        --array=*-*) array=${1#--array=} ;;
        --gres=gpu:*) gpus=${1##*:} ;;
        *) echo "$1 is not known here" >&2; exit 2 ;;
    esac
    shift
done
cp "$1" "$HOME/slurm_script"
shift
export SLURM_SUBMIT_DIR=$PWD SLURM_JOB_ID=1 SLURM_GPUS_ON_NODE=$gpus
if [ -z "$array" ]; then
    exec bash "$HOME/slurm_script" "$@"
fi
export SLURM_ARRAY_JOB_ID=1 SLURM_ARRAY_TASK_MIN=${array%-*} SLURM_ARRAY_TASK_MAX=${array#*-}
export SLURM_ARRAY_TASK_COUNT=$((SLURM_ARRAY_TASK_MAX - SLURM_ARRAY_TASK_MIN + 1))
for task in $(seq "$SLURM_ARRAY_TASK_MIN" "$SLURM_ARRAY_TASK_MAX"); do
    SLURM_ARRAY_TASK_ID=$task bash "$HOME/slurm_script" "$@"
done
"""


def make_weights(folder: Path) -> None:
    """Write what would be downloaded to ``downloaded`` and ``hub`` in a folder, and what is shipped to ``shipped``."""
    places = [folder / 'downloaded', folder / 'shipped', folder / 'hub']
    for place in places:
        place.mkdir()
    environment = {**os.environ, 'PYTHONPATH': f'{TINY}:{ROOT}', 'TINY_WEIGHTS': str(places[1])}
    command = [sys.executable, str(TINY / 'make_weights.py'), *map(str, places)]
    subprocess.run(command, env=environment, check=True, capture_output=True)


@contextmanager
def tool_server(environment: dict[str, str]) -> Iterator[Path]:
    """Serve tools while the context lasts; the value is the server's socket."""
    with tempfile.TemporaryDirectory() as folder:  # a socket's path has to be short
        path = Path(folder, 'server')
        command = [sys.executable, str(TINY / 'tool_server.py'), str(path), *STAGE_2]
        # Streams of pipes, as commands have: what can be sought in files cannot in them.
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        try:
            while not path.exists():
                assert process.poll() is None
                time.sleep(0.05)
            yield path
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def make_tools(scratch: Path, server: Path) -> None:
    """Make ``tools/``: scripts of the same names, that let the server run the project's."""
    (scratch / 'tools').mkdir()
    for tool in (ROOT / 'tools').glob('*.py'):
        text = CLIENT.format(python=sys.executable, server=server, tool=tool)
        (scratch / 'tools' / tool.name).write_text(text)
        (scratch / 'tools' / tool.name).chmod(0o755)
    for script in (ROOT / 'tools').glob('*.sh'):
        (scratch / 'tools' / script.name).symlink_to(script)


def make_world(scratch: Path, weights: Path) -> dict[str, str]:
    """Fill a folder with what stands there before the first command of a document; return the environment."""
    (scratch / 'mmseg_configs').symlink_to(ROOT / 'mmseg_configs')
    downloads = scratch / 'home/.cache/torch/hub/checkpoints'
    downloads.parent.mkdir(parents=True)
    downloads.symlink_to(weights / 'downloaded')
    (scratch / 'bin').mkdir()
    here = Path(sys.executable).parent
    for name, text in (('torchrun', TORCHRUN.format(torchrun=here / 'torchrun')), ('sbatch', SBATCH)):
        (scratch / 'bin' / name).write_text(text)
        (scratch / 'bin' / name).chmod(0o755)
    return {
        **os.environ,
        'PATH': f'{scratch}/bin:{here}:{os.environ["PATH"]}',
        'PYTHONPATH': f'{TINY}:{ROOT}',
        'HOME': str(scratch / 'home'),
        'TINY_WEIGHTS': str(weights / 'shipped'),
        'GOODSAM_WEIGHTS_DIR': str(weights / 'hub'),
        'OMP_NUM_THREADS': '1',
    }


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    """Blocks of colours with a little noise."""
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 240, (-(-height // 50), -(-width // 50), 3)).repeat(50, 0).repeat(50, 1)
    return Image.fromarray((blocks[:height, :width] + random.integers(0, 16, (height, width, 3))).astype(np.uint8))


def save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def ids(height: int, width: int, count: int, seed: int = 0) -> Image.Image:
    """Labels: rectangles of ids below ``count``."""
    blocks = np.random.default_rng(seed).integers(0, count, (-(-height // 50), -(-width // 50)), dtype=np.uint8)
    return Image.fromarray(np.ascontiguousarray(blocks.repeat(50, 0).repeat(50, 1)[:height, :width]))


def panoramas(folder: Path, names: str, size: tuple[int, int] = (400, 768)) -> None:
    """Save pictures under names that are separated by spaces, with their suffix."""
    for seed, name in enumerate(names.split()):
        save(picture(*size, seed), folder / name)


def densepass(data: Path, width: int = 1024) -> None:  # as wide as the widest windows
    panoramas(data / 'DensePASS/leftImg8bit/val/cs', '1.png 2.png', (400, width))
    for name in ('1', '2'):
        save(ids(400, width, 19), data / f'DensePASS/gtFine/val/cs/{name}_labelTrainIds.png')


def densepass_train(data: Path, width: int = 768) -> None:
    panoramas(data / 'DensePASS/leftImg8bit/train', 'Amsterdam/1.jpg Amsterdam/2.jpg Athens/1.jpg', (400, width))


def wildpass(data: Path) -> None:
    panoramas(data / 'WildPASS2K', 'Amsterdam/1.jpg Amsterdam/2.jpg Athens/1.jpg')
    panoramas(data / 'WildPASS/leftImg8bit/val', '1.jpg')
    save(ids(400, 768, 25), data / 'WildPASS/gtFine/val/1.png')


def cityscapes(data: Path, size: tuple[int, int] = (256, 512)) -> None:
    for split in ('train', 'val'):
        save(picture(*size), data / f'Cityscapes/leftImg8bit/{split}/ulm/ulm_000000_000019_leftImg8bit.png')
        labels = data / f'Cityscapes/gtFine/{split}/ulm/ulm_000000_000019_gtFine_labelTrainIds.png'
        save(ids(*size, 19), labels)


def own_panoramas(scratch: Path) -> None:
    """Custom panoramas, with labels of one of them."""
    panoramas(scratch / 'my_panoramas', 'street_7.png street_8.png')
    save(ids(400, 768, 3), scratch / 'my_labels/street_7.png')
    (scratch / 'my_ids.json').write_text('{"0": "ignore", "1": "road", "2": "car"}')


def for_omnisam(scratch: Path) -> None:
    """Data sets and custom panoramas at their full size, because the windows have to be nine."""
    cityscapes(scratch / 'data', (1024, 2048))
    densepass(scratch / 'data', 2048)
    densepass_train(scratch / 'data', 2048)
    panoramas(scratch / 'my_panoramas', 'street_7.png', (1024, 2048))


def photographs(scratch: Path) -> None:
    """Photographs of the whole sphere, panoramas that are kept apart, and a network as ONNX."""
    import torch

    panoramas(scratch / 'my_photos', 'a.jpg b.jpg', size=(512, 1024))
    panoramas(scratch / 'unseen', 'c.png', size=(200, 1024))
    torch.manual_seed(0)
    network, example = torch.nn.Conv2d(3, 19, 1), torch.rand(1, 3, 64, 64)
    free = {'image': {0: 'batch'}, 'logits': {0: 'batch'}}
    torch.onnx.export(
        network, (example,), str(scratch / 'assistant.onnx'), input_names=['image'], output_names=['logits'],
        dynamic_axes=free, dynamo=False,
    )  # fmt: skip


def other_inputs(scratch: Path) -> None:
    """An image elsewhere, images that a glob finds, a video and a list."""
    panoramas(scratch, 'other/a.jpg photos/a/a.jpg')
    (scratch / 'list.txt').write_text('my_panoramas/a.png\n')
    video = cv2.VideoWriter(str(scratch / 'ride.mp4'), cv2.VideoWriter.fourcc(*'mp4v'), 5, (768, 400))
    for seed in range(2):
        video.write(np.asarray(picture(400, 768, seed)))
    video.release()
