"""Pictures of predictions, one file per image, the same with any number of processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, get_dist_info, is_main_process
from mmseg.engine.hooks import SegVisualizationHook
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample

from stage1_sam_cache.data.images import read_rgb

_KEPT = ('img_path', 'image_id', 'kept_rows')
_DRAWN = ('gt_sem_seg', 'pred_sem_seg')


@HOOKS.register_module()
class PictureHook(SegVisualizationHook):
    """Draws label and prediction side by side, as mmseg's hook does, into files named after the images' ids.

    mmseg draws what the first of several processes predicts, and names files after the last part of a path and the
    order of drawing. Here the first process draws what all predict, and ``a/1`` and ``b/1`` are files in two folders.

    Args:
        folder: Where pictures of scoring go; None: ``pictures`` of the run's log folder. Those of validation go to a
            folder in it per iteration.
        options: Of ``SegVisualizationHook``; ``interval`` counts images of a validation, scoring draws all.

    Raises:
        ImageError: If an image can't be read any more.
    """

    def __init__(self, folder: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.folder = folder

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any, outputs: Sequence[SegDataSample]) -> None:
        """Draw every ``interval``-th image of a validation."""
        if self.draw:
            samples = _of_all(batch_idx, runner.val_dataloader, outputs)
            place = f'val_{runner.iter}'
            self._draw(runner, place, [(index, each) for index, each in samples if index % self.interval == 0])

    def after_test_iter(self, runner: Any, batch_idx: int, data_batch: Any, outputs: Sequence[SegDataSample]) -> None:
        """Draw every scored image."""
        if self.draw:
            self._draw(runner, '', _of_all(batch_idx, runner.test_dataloader, outputs))

    def _draw(self, runner: Any, place: str, samples: Sequence[tuple[int, SegDataSample]]) -> None:
        if not is_main_process():
            return
        folder = Path(self.folder or Path(runner.log_dir, 'pictures'), place)
        for index, sample in samples:
            path = Path(sample.img_path)
            name = sample.get('image_id') or f'{index}_{path.stem}'
            runner.visualizer.add_datasample(
                name,
                read_rgb(path).pixels[slice(*sample.get('kept_rows', (None,)))],
                data_sample=sample,
                show=self.show,
                wait_time=self.wait_time,
                out_file=str(folder / f'{name}.png'),
            )


def _of_all(batch_idx: int, loader: Any, outputs: Sequence[SegDataSample]) -> list[tuple[int, SegDataSample]]:
    """What all processes predicted in this step, in the order of the images; what fills up the last step is dropped."""
    rank, processes = get_dist_info()
    first = batch_idx * loader.batch_size
    own = [((first + i) * processes + rank, sample) for i, sample in enumerate(_light(outputs))]
    parts = all_gather_object(own)  # gather_object does not work with NCCL
    together = sorted((pair for part in parts for pair in part), key=lambda pair: pair[0])
    return [pair for pair in together if pair[0] < len(loader.dataset)]


def _light(outputs: Sequence[SegDataSample]) -> Iterator[SegDataSample]:
    """The samples with what is drawn alone, on the CPU."""
    for output in outputs:
        sample = SegDataSample(metainfo={key: output.get(key) for key in _KEPT if key in output})
        for key in _DRAWN:
            if key in output:
                setattr(sample, key, output.get(key).to('cpu'))
        yield sample
