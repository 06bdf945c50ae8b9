"""Training of a toy SAM on instances of the source: scenes -> prompts and their masks -> SAM's losses.

The recipe is that of Segment Anything (Kirillov et al., ICCV 2023, App. A) at small size: a prompt is a random pixel,
or a loosened box, of a thing; a pixel means its part as well as its whole, so each of these masks is taught to that of
the three outputs that is nearest to it; focal and dice loss 20 to 1, and the squared error of the predicted IoU.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from numpy.typing import NDArray
from PIL import Image
from segment_anything.modeling import TwoWayTransformer
from torch import Tensor
from torchvision.ops import masks_to_boxes
from torchvision.transforms.v2 import ColorJitter

from stage1_sam_cache.data.images import read_rgb
from stage1_sam_cache.errors import DatasetError
from stage1_sam_cache.sam.toy_sam import SIZE, STRIDE, build_toy_sam
from stage2_distill.data.sampler import Draw

MASK_STRIDE = STRIDE // 4  # of SAM's low-resolution masks, in pixels of its input
MIN_PIXELS = 32  # of a thing that is asked for
ZOOM = (0.78, 1.6)  # 0.78 shows a source image as high as a window of the demo's panoramas
FOCAL, DICE = 20.0, 1.0
ATTENTION_GAIN = 3.0  # sharpens the initial attention


class Scene(NamedTuple):
    """One crop and what is asked about it.

    Attributes:
        image: uint8 ``(3, h, w)``, h and w at most ``SIZE`` and even.
        points: float32 ``(N, 2)``, x and y of the point prompts, in pixels.
        boxes: float32 ``(M, 4)``, the box prompts.
        targets: uint8 ``(N + M, 2, h / 2, w / 2)``: part and whole under each prompt, as shares of a pixel over 255.
    """

    image: Tensor
    points: Tensor
    boxes: Tensor
    targets: Tensor


@DATASETS.register_module()
class SegmentDataset(torch.utils.data.Dataset[Scene]):
    """Crops of the source's images with prompts.

    Args:
        root: Folder of ToyPASS.
        split: ``train`` or ``val``.
        points, boxes: Prompts a crop; in a test, a pixel of every thing.
        train: Zoom, flip, colours and prompts by the sampler's draw; else the middle of the image, always the same.
        limit: Only so many images.

    Raises:
        DatasetError: If there are none.
    """

    def __init__(
        self,
        root: str,
        split: str = 'train',
        points: int = 12,
        boxes: int = 4,
        train: bool = True,
        limit: int | None = None,
    ) -> None:
        images = Path(root) / 'source/leftImg8bit' / split
        self.images = sorted(images.rglob('*_leftImg8bit.png'))[:limit]
        if not self.images:
            raise DatasetError(f'{images}: no images; run tools/make_toypass.py --out {root}')
        self.truth = Path(root) / 'truth/source' / split
        self.base, self.points, self.boxes, self.train = images, points, boxes, train
        self._jitter = ColorJitter(0.4, 0.3, 0.4, 0.05)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, draw: int | Draw) -> Scene:
        index, seed = draw if isinstance(draw, Draw) else Draw(draw, draw)
        rng = np.random.default_rng(seed)
        file = self.images[index]
        stem = str(file.relative_to(self.base)).removesuffix('_leftImg8bit.png')
        maps = [Image.open(self.truth / f'{stem}_{kind}.png') for kind in ('parts', 'instances')]
        image, (parts, wholes) = _crop(
            read_rgb(file).pixels, [np.asarray(m) for m in maps], rng if self.train else None
        )
        pixels = torch.from_numpy(image).permute(2, 0, 1)
        if self.train:
            torch.manual_seed(seed)  # ColorJitter knows no generator of its own
            pixels = self._jitter(pixels)
        places = _choose(parts, wholes, self.points + self.boxes, rng) if self.train else _one_of_each(wholes, rng)
        targets = _targets(parts, wholes, places)
        boxes = places[self.points :] if self.train else places[:0]
        points = places[: len(places) - len(boxes)]
        return Scene(
            pixels,
            torch.tensor(points[:, ::-1] + 0.5, dtype=torch.float32),
            _boxes(wholes, boxes, rng),
            targets,
        )


def _crop(
    image: NDArray[np.uint8], maps: list[NDArray[np.uint16]], rng: np.random.Generator | None
) -> tuple[NDArray[np.uint8], list[NDArray[np.uint16]]]:
    """A window of at most ``SIZE`` pixels; ``rng`` zooms, moves and mirrors it."""
    low, high = ZOOM
    zoom = low if rng is None else float(np.exp(rng.uniform(np.log(low), np.log(high))))
    height, width = (round(side * zoom) for side in image.shape[:2])
    h, w = (min(side, SIZE) // 2 * 2 for side in (height, width))
    share = (0.5, 0.5) if rng is None else rng.random(2)
    top, left = (round(free * s) for free, s in zip((height - h, width - w), share, strict=True))
    # The box in pixels of the file, so that only the crop is resized.
    box = (left / zoom, top / zoom, min((left + w) / zoom, image.shape[1]), min((top + h) / zoom, image.shape[0]))
    seen = np.asarray(Image.fromarray(image).resize((w, h), Image.Resampling.BILINEAR, box=box))
    cut = [np.asarray(Image.fromarray(m).resize((w, h), Image.Resampling.NEAREST, box=box)) for m in maps]
    if rng is not None and rng.random() < 0.5:
        seen, cut = seen[:, ::-1], [m[:, ::-1] for m in cut]
    return seen.copy(), [m.copy() for m in cut]


def _choose(
    parts: NDArray[np.uint16], wholes: NDArray[np.uint16], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Rows and columns ``(count, 2)``: half anywhere, as automatic generation asks, half in random segments."""
    anywhere = rng.integers(0, parts.shape, (count // 2, 2))
    by_thing = []
    for labels in (parts, wholes):
        _, inverse, area = np.unique(labels, return_inverse=True, return_counts=True)
        order = np.argsort(inverse.ravel(), kind='stable')
        first = np.cumsum(area) - area
        large = np.flatnonzero(area >= MIN_PIXELS)
        chosen = rng.choice(large, (count - len(anywhere) + 1) // 2)
        pixel = order[first[chosen] + (rng.random(len(chosen)) * area[chosen]).astype(np.int64)]
        by_thing.append(np.stack(np.unravel_index(pixel, labels.shape), 1))
    places = np.concatenate([anywhere, *by_thing])[:count]
    return places[rng.permutation(count)]


def _one_of_each(wholes: NDArray[np.uint16], rng: np.random.Generator) -> NDArray[np.int64]:
    """A random pixel of every thing that is large enough."""
    found = []
    for name, area in zip(*np.unique(wholes, return_counts=True), strict=True):
        if area >= MIN_PIXELS:
            rows, columns = np.nonzero(wholes == name)
            pixel = rng.integers(len(rows))
            found.append((rows[pixel], columns[pixel]))
    return np.array(found, np.int64).reshape(-1, 2)


def _targets(parts: NDArray[np.uint16], wholes: NDArray[np.uint16], places: NDArray[np.int64]) -> Tensor:
    """Part and whole under each place; uint8 ``(N, 2, h / 2, w / 2)``."""
    labels = np.stack([parts, wholes])
    under = labels[:, places[:, 0], places[:, 1]].T  # (N, 2)
    masks = (labels[None] == under[..., None, None]).astype(np.float32)
    return (F.avg_pool2d(torch.from_numpy(masks), MASK_STRIDE) * 255).to(torch.uint8)


def _boxes(wholes: NDArray[np.uint16], places: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
    """Boxes of the wholes under places, loosened by up to a tenth of their sides: float32 ``(M, 4)``."""
    under = wholes[places[:, 0], places[:, 1]]
    boxes = masks_to_boxes(torch.from_numpy(wholes == under[:, None, None]))
    boxes[:, 2:] += 1  # the far side of the last pixel
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    loose = torch.from_numpy(rng.normal(0, 0.1, boxes.shape).clip(-0.1, 0.1)).float()
    return (boxes + loose * sides).clamp(0, SIZE)


def together(scenes: Sequence[Scene]) -> dict[str, list[Scene]]:
    """A batch: crops of different sizes are not stacked."""
    return {'scenes': list(scenes)}


@MODELS.register_module()
class ToySamTraining(BaseModel):
    """A toy SAM in MMEngine's terms.

    Args:
        compiled: Compile encoder and decoder, a matter of minutes that later pays.
    """

    def __init__(self, compiled: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.sam = build_toy_sam()
        _look_where_asked(self.sam.mask_decoder.transformer)
        self._decode = self.sam.mask_decoder.predict_masks
        if compiled:
            self.sam.image_encoder.compile()
            self._decode = torch.compile(self._decode)

    def forward(self, scenes: list[Scene], mode: str = 'loss') -> Any:
        """``'loss'``: the losses; ``'predict'``: of every point, IoU of the best output and of the surest."""
        device = self.sam.device
        images = torch.stack([self.sam.preprocess(scene.image.to(device).float()) for scene in scenes])
        embeddings = self.sam.image_encoder(images)
        answers = [self._answer(e[None], s) for e, s in zip(embeddings, scenes, strict=True)]
        if mode == 'predict':
            return [torch.stack(_point_quality(*answer), 1) for answer in answers]
        losses = [_losses(*answer) for answer in answers]
        return {name: torch.stack([found[name] for found in losses]).mean() for name in losses[0]}

    def _answer(self, embedding: Tensor, scene: Scene) -> tuple[Tensor, Tensor, Tensor, int]:
        """Mask logits ``(N + M, 4, h / 2, w / 2)``, predicted IoU ``(N + M, 4)``, targets, and N."""
        device = embedding.device
        points, boxes = scene.points.to(device), scene.boxes.to(device)
        encode = self.sam.prompt_encoder
        sparse, dense = encode((points[:, None], torch.ones(len(points), 1, device=device)), None, None)
        if len(boxes):
            sparse_box, dense_box = encode(None, boxes, None)
            sparse, dense = torch.cat([sparse, sparse_box]), torch.cat([dense, dense_box])
        masks, iou = self._decode(embedding, encode.get_dense_pe(), sparse, dense)
        targets = scene.targets.to(device).float() / 255
        height, width = targets.shape[-2:]
        return masks[..., :height, :width].float(), iou.float(), targets, len(points)


@torch.no_grad()
def _look_where_asked(transformer: TwoWayTransformer) -> None:
    """Starts the attention between prompts and image at the place that is asked for.

    Queries and keys both carry the encoding of their position; with the same projection they agree where the positions
    do. From random projections this takes most of a short training to be found.
    """
    across = [(layer.cross_attn_token_to_image, layer.cross_attn_image_to_token) for layer in transformer.layers]
    for attention in (*(a for pair in across for a in pair), transformer.final_attn_token_to_image):
        attention.q_proj.weight *= ATTENTION_GAIN
        attention.k_proj.weight.copy_(attention.q_proj.weight)


def _losses(masks: Tensor, iou: Tensor, targets: Tensor, points: int) -> dict[str, Tensor]:
    """SAM's losses of one crop."""
    focal, dice, overlap = compare(masks, targets)
    cost = FOCAL * focal + DICE * dice  # (N + M, 4 outputs, 2 targets)
    # A pixel asks for three masks; a box leaves no doubt, so it asks the first output for the whole.
    nearest = cost[:points, 1:].detach().argmin(1, keepdim=True)
    both = [torch.cat([_at(c[:points, 1:], nearest), c[points:, 0, 1:].mean(1)]) for c in (focal, dice)]
    best = overlap.amax(2)
    error = torch.cat([(iou - best)[:points, 1:].flatten(), iou[points:, 0] - overlap[points:, 0, 1]])
    return {
        'loss_focal': FOCAL * both[0].mean(),
        'loss_dice': DICE * both[1].mean(),
        'loss_iou': error.square().mean(),
    }


def _at(cost: Tensor, nearest: Tensor) -> Tensor:
    return cost.gather(1, nearest).squeeze(1).mean(1)


def compare(masks: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each output against each target.

    Args:
        masks: Logits ``(N, k, h, w)``.
        targets: Shares in [0, 1], ``(N, t, h, w)``.

    Returns:
        Focal loss, dice loss and IoU of the thresholded masks (without gradient), each ``(N, k, t)``.
    """
    logits, y = masks.flatten(2), targets.flatten(2).transpose(1, 2)
    p = logits.sigmoid()
    pixels = logits.shape[-1]
    hit = (1 - p).square() * F.softplus(-logits)
    miss = p.square() * F.softplus(logits)
    focal = (hit @ y + miss @ (1 - y)) / (2 * pixels)  # without the alpha that favours the outside
    dice = 1 - (2 * (p @ y) + 1) / (p.sum(2, keepdim=True) + y.sum(1, keepdim=True) + 1)
    with torch.no_grad():
        hard, true = (logits > 0).float(), (y >= 0.5).float()
        both = hard @ true
        union = hard.sum(2, keepdim=True) + true.sum(1, keepdim=True) - both
        overlap = both / union.clamp(min=1)
    return focal, dice, overlap


def _point_quality(masks: Tensor, iou: Tensor, targets: Tensor, points: int) -> tuple[Tensor, Tensor]:
    """Of every point, IoU with the whole of the best output and, with part or whole, of the output that says so."""
    overlap = compare(masks[:points, 1:], targets[:points])[2]
    surest = iou[:points, 1:].argmax(1)
    return overlap[..., 1].amax(1), overlap.amax(2).gather(1, surest[:, None])[:, 0]


@METRICS.register_module()
class PointQuality(BaseMetric):
    """Mean over things of the IoU that one pixel of them gives."""

    def process(self, data_batch: Any, data_samples: Sequence[Tensor]) -> None:
        """Keeps what ``ToySamTraining`` found."""
        self.results += [sample.cpu() for sample in data_samples]

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Means in percent."""
        best, surest = torch.cat(results).mean(0) * 100
        return {'best_of_3': float(best), 'surest': float(surest)}
