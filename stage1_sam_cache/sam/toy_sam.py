"""A toy SAM: SAM's own modules at a size that can be trained without a GPU, for worlds as simple as ToyPASS.

It segments what it was trained on and nothing else, and is never used in place of SAM unless it is asked for by name.
"""

from __future__ import annotations

from functools import partial

from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn

NAME = 'toy'  # on the command line
SIZE = 256  # side of the encoder's input, pixels
STRIDE = 8  # pixels per place of the image embedding
_WIDTH = 160
_DEPTH = 6
_HEADS = 5
_DECODER = 96


class ConvStem(nn.Module):
    """Patch embedding by three convolutions instead of one linear map, for short training runs on few images."""

    def __init__(self, width: int) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        channels = 3
        for wider in (width // 4, width // 2, width):
            steps += [nn.Conv2d(channels, wider, 3, stride=2, padding=1, bias=False), LayerNorm2d(wider), nn.GELU()]
            channels = wider
        self.steps = nn.Sequential(*steps, nn.Conv2d(width, width, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(B, 3, S, S)`` to ``(B, S / 8, S / 8, width)``, as SAM's patch embedding does."""
        return self.steps(images).permute(0, 2, 3, 1)


class MixMLP(nn.Module):
    """MLP of a transformer block with a depthwise convolution, as SegFormer's Mix-FFN."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.near = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, h, w, width)`` to the same shape."""
        x = self.lin1(x)
        near = self.near(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.lin2(self.act(x + near))


class ToyImageEncoder(ImageEncoderViT):
    """SAM's image encoder with convolutions in the patch embedding and in every block."""

    def __init__(self) -> None:
        super().__init__(
            img_size=SIZE,
            patch_size=STRIDE,
            embed_dim=_WIDTH,
            depth=_DEPTH,
            num_heads=_HEADS,
            out_chans=_DECODER,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            window_size=8,
            global_attn_indexes=(2, 5),
        )
        self.patch_embed = ConvStem(_WIDTH)
        for block in self.blocks:
            block.mlp = MixMLP(_WIDTH, 3 * _WIDTH)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)


def build_toy_sam() -> Sam:
    """Build an untrained toy SAM: input of 256 pixels, masks of 128."""
    side = SIZE // STRIDE
    return Sam(
        image_encoder=ToyImageEncoder(),
        prompt_encoder=PromptEncoder(_DECODER, (side, side), (SIZE, SIZE), mask_in_chans=16),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=_DECODER, num_heads=4, mlp_dim=384),
            transformer_dim=_DECODER,
            iou_head_depth=3,
            iou_head_hidden_dim=_DECODER,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )
