"""The small network that looks for tattoos (medseg/privacy/tattoos.onnx): trained and measured.

usage: python benchmarks/tattoo_model.py FOLDER OUT [--pictures 2800] [--steps 1500] [--seed 0] [--show FOLDER]

FOLDER holds photographs of skin without tattoos (for the shipped weights: the 250 of ISIC's UDA-1, CC0). Blocks of ten
files in the names' order go to one of three parts: half to learn from, a fifth to choose the threshold with, the
rest to measure with. Tattoos are synthetic (tattoo_designs.py), of one family of designs for the first two parts and of
another for the last; half of the pictures have none, and all have their share of what looks like one
(tattoo_lookalikes.py). Writes OUT/tattoos.onnx and prints the threshold and what was found.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from tattoo_designs import INKS, SIZES, Array, Family, parts_of, with_tattoo
from tattoo_lookalikes import LOOKALIKES, no_skin, pen_mark, with_lookalikes
from torch import Tensor, nn
from torch.nn import functional

from medseg.data.synthetic_skin import draw_photograph
from medseg.models.efficientnet import IMAGENET_MEAN, IMAGENET_STD, EfficientNetLite0Encoder

SHAPE = (240, 320)
_DRAWN = (384, 512)
"""Rows and columns that pictures are drawn in before they are made smaller."""
_CELL, _TOP, _CROP, _BATCH, _CHECKED = 4, 16, 112, 16, 200
_UNDER = ("recoloured", "lesion", "bubbles", "ruler", "sticker", "painted")
"""Lookalikes that tattoos may be laid over; hairs and frames come last."""
_ALARMS = 0.1
"""Share of the second part's pictures, as they are, that may be flagged."""


class Separable(nn.Module):
    """A depthwise and a pointwise convolution, added to the input where the shapes allow."""

    def __init__(self, into: int, out: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.adds = into == out and stride == 1
        self.body = nn.Sequential(
            nn.Conv2d(into, into, 3, stride, dilation, dilation, groups=into, bias=False), nn.BatchNorm2d(into),
            nn.Conv2d(into, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, rows, columns) in and out."""
        return x + self.body(x) if self.adds else self.body(x)


class InkNet(nn.Module):
    """A U-Net of 50 thousand weights: RGB in 0..255 to a logit of ink for each cell of 4 x 4 pixels.

    Its first half is EfficientNet-Lite0 up to 1/8 of the size, with ImageNet's weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = EfficientNetLite0Encoder(frozen_statistics=True)
        self.encoder.take_imagenet_weights()
        self.encoder._blocks, self.encoder._ends = self.encoder._blocks[:4], [2, 3]
        self.middle = nn.Sequential(Separable(40, 40, dilation=2), Separable(40, 40, dilation=4))
        self.coarse = nn.Sequential(Separable(40, 48, stride=2), Separable(48, 48, dilation=2), Separable(48, 48))
        self.join = nn.Sequential(nn.Conv2d(88, 40, 1, bias=False), nn.BatchNorm2d(40), nn.ReLU())
        self.end = nn.Sequential(
            nn.Conv2d(64, 32, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), Separable(32, 32), Separable(32, 32),
            nn.Conv2d(32, 1, 1),
        )  # fmt: skip
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None] * 255)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None] * 255)

    def trained(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Weights that are trained: of the encoder, whose first layers stay as they are, and the others."""
        for part in (self.encoder._conv_stem, self.encoder._bn0, *self.encoder._blocks[:2]):
            part.requires_grad_(False)
        own = {id(weight) for weight in self.encoder.parameters()}
        encoder = [weight for weight in self.encoder.parameters() if weight.requires_grad]
        return encoder, [weight for weight in self.parameters() if id(weight) not in own]

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 3, rows, columns) to (batch, 1, rows / 4, columns / 4)."""
        fine, deep = self.encoder((x - self.mean) / self.std)
        middle = self.middle(deep)
        up = functional.interpolate(self.coarse(middle), scale_factor=2.0, mode="nearest")
        up = functional.interpolate(self.join(torch.cat([middle, up], 1)), scale_factor=2.0, mode="nearest")
        return self.end(torch.cat([fine, up], 1))


def score(logits: Tensor) -> Tensor:
    """How sure the network is of a tattoo, (batch,): the mean logit of its 16 surest cells."""
    return logits.flatten(1).topk(_TOP, dim=1).values.mean(dim=1)


def opened(path: Path) -> Array:
    """A picture of 384 x 512 pixels, uint8, (rows, columns, 3)."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize(_DRAWN[::-1], Image.Resampling.BICUBIC))


def seen(pixels: Array, chance: np.random.Generator | None) -> Array:
    """The picture as the network sees it; with `chance`, after JPEG compression."""
    image = Image.fromarray(pixels)
    if chance is not None:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=int(chance.integers(60, 97)))
        image = Image.open(stream)
    return cv2.resize(np.asarray(image), SHAPE[::-1], interpolation=cv2.INTER_AREA)


def drawn(path: Path, seed: int, family: Family, *, tattoo: bool, share: float) -> tuple[Array, Array]:
    """A picture with or without a tattoo and with lookalikes: (rows, columns, 3), and cells with ink, 0 to 1."""
    chance = np.random.default_rng(seed)
    pixels = opened(path)
    if not tattoo and share and chance.random() < 0.12:
        if chance.random() < 0.5:
            return seen(no_skin(chance, _DRAWN), chance), np.zeros((SHAPE[0] // _CELL, SHAPE[1] // _CELL), np.uint8)
        pixels = np.asarray(Image.fromarray(draw_photograph(chance).rgb).resize(_DRAWN[::-1], Image.Resampling.BICUBIC))
    if chance.random() < 0.3:
        high, wide = (int(chance.uniform(0.5, 1) * side) for side in _DRAWN)
        top, left = (
            int(chance.integers(0, whole - part + 1)) for whole, part in zip(_DRAWN, (high, wide), strict=True)
        )
        cut = Image.fromarray(pixels[top : top + high, left : left + wide])
        pixels = np.asarray(cut.resize(_DRAWN[::-1], Image.Resampling.BICUBIC))
    pixels = with_lookalikes(pixels, chance, _UNDER, share=share)
    ink = np.zeros(_DRAWN, np.float32)
    if tattoo:
        laid = with_tattoo(pixels, chance, family)
        pixels, ink = laid.pixels, laid.ink
    made = with_lookalikes(pixels, chance, ("hairs", "frame"), share=share)
    ink = ink * (np.abs(made.astype(int) - pixels).mean(axis=2) < 50)
    cells = cv2.resize(ink, (SHAPE[1] // _CELL, SHAPE[0] // _CELL), interpolation=cv2.INTER_AREA)
    return seen(made, chance), (255 * np.clip(cells, 0, 1)).astype(np.uint8)


def _some(task: tuple[list[Path], int, int, Family, float]) -> tuple[Array, Array]:
    paths, seed, count, family, share = task
    cv2.setNumThreads(1)
    made = [
        drawn(paths[int(np.random.default_rng(seed + i).integers(len(paths)))], seed + i, family, tattoo=i % 2 == 0,
              share=share) for i in range(count)
    ]  # fmt: skip
    return np.stack([one for one, _ in made]), np.stack([ink for _, ink in made])


def pool(paths: list[Path], count: int, seed: int, family: Family, share: float) -> tuple[Tensor, Tensor]:
    """Pictures, each second one with a tattoo: uint8, (picture, 3, rows, columns), and cells with ink."""
    tasks = [(paths, seed * 10**6 + start, min(100, count - start), family, share) for start in range(0, count, 100)]
    with ProcessPoolExecutor(2) as workers:
        made = list(workers.map(_some, tasks))
    pictures = torch.from_numpy(np.concatenate([one for one, _ in made])).permute(0, 3, 1, 2)
    return pictures, torch.from_numpy(np.concatenate([ink for _, ink in made]))[:, None]


def _changed(batch: Tensor, ink: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Turned over, in another light."""
    for axis in (2, 3):
        if torch.rand((), generator=draw) < 0.5:
            batch, ink = batch.flip(axis), ink.flip(axis)
    if torch.rand((), generator=draw) < 0.5:
        batch, ink = batch.transpose(2, 3), ink.transpose(2, 3)
    values = batch.float() / 255
    number = len(values)
    values = values * (1 + 0.12 * torch.randn(number, 3, 1, 1, generator=draw))
    values = values * (1 + 0.15 * torch.randn(number, 1, 1, 1, generator=draw))
    values = values.clamp(1e-3, 1) ** torch.exp(0.2 * torch.randn(number, 1, 1, 1, generator=draw))
    grey = values.mean(dim=1, keepdim=True)
    values = grey + (values - grey) * (1 + 0.25 * torch.randn(number, 1, 1, 1, generator=draw))
    return (values.clamp(0, 1) * 255).contiguous(), ink.float() / 255


def _cut(batch: Tensor, ink: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """A square of each picture, of most tattoos one with ink in it."""
    found, side = [], _CROP // _CELL
    for picture, cells in zip(batch, ink, strict=True):
        inked = (cells[0] > 100).nonzero()
        if len(inked) and torch.rand((), generator=draw) < 0.8:
            middle = inked[int(torch.randint(len(inked), (), generator=draw))]
            place = middle - torch.randint(side // 5, side - side // 5, (2,), generator=draw)
        else:
            place = torch.stack([torch.randint(0, length - side + 1, (), generator=draw) for length in cells.shape[1:]])
        row, column = (
            int(min(max(int(at), 0), length - side)) for at, length in zip(place, cells.shape[1:], strict=True)
        )
        found.append((
            picture[:, row * _CELL : (row + side) * _CELL, column * _CELL : (column + side) * _CELL],
            cells[:, row : row + side, column : column + side],
        ))  # fmt: skip
    return torch.stack([one for one, _ in found]), torch.stack([cells for _, cells in found])


def train(pictures: Tensor, ink: Tensor, *, steps: int, seed: int) -> InkNet:
    """Fit the network to squares of the pictures."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    draw = torch.Generator().manual_seed(seed)
    network = InkNet().to(memory_format=torch.channels_last)
    encoder, others = network.trained()
    rates = (2e-3, 3e-3)
    groups = [{"params": some, "lr": rate} for some, rate in zip((encoder, others), rates, strict=True)]
    optimiser = torch.optim.AdamW(groups, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, list(rates), total_steps=steps, pct_start=0.1)
    total = 0.0
    for step in range(steps):
        chosen = torch.randint(0, len(pictures), (_BATCH,), generator=draw)
        values, target = _changed(*_cut(pictures[chosen], ink[chosen], draw), draw)
        logits = network(values)
        most = target.flatten(1).max(dim=1).values
        has, hasnt = most > 0.3, most < 0.05
        dense = functional.binary_cross_entropy_with_logits(logits, (target * 2).clamp(max=1))
        whole = functional.binary_cross_entropy_with_logits(score(logits) / 2, has.float(), reduction="none")
        loss = 3 * dense + (whole * (has | hasnt)).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        total += float(loss.detach())
        if step % 100 == 99:
            print(f"step {step + 1}: loss {total / 100:.4f}", flush=True)
            total = 0.0
    return network.eval()


@torch.no_grad()
def scores(network: nn.Module, pictures: Sequence[Array] | Array | Tensor) -> Array:
    """Scores of pictures, uint8, (rows, columns, 3) each, or of a pool."""
    if not isinstance(pictures, Tensor):
        pictures = torch.from_numpy(np.stack(list(pictures))).permute(0, 3, 1, 2)
    return np.concatenate([score(network(part.float())).numpy() for part in pictures.split(32)])


def alarms(network: nn.Module, paths: Sequence[Path], *, seed: int, share: float, times: int = 1) -> Array:
    """Scores of pictures without tattoos, as they are or with lookalikes."""
    made = [
        drawn(path, seed * 10**6 + number, "test", tattoo=False, share=share)[0] if share else seen(opened(path), None)
        for number, path in enumerate(list(paths) * times)
    ]
    return scores(network, made)


def measure(network: nn.Module, paths: Sequence[Path], threshold: float, *, seed: int, show: Path | None) -> None:
    """Print how many tattoos are found, by colour, size and kind, and the false alarms."""
    found: dict[str, list[bool]] = {}
    for number, path in enumerate(paths):
        for colour in INKS:
            chance = np.random.default_rng(seed * 10**7 + number * 100 + INKS.index(colour))
            low, high = SIZES[int(chance.integers(len(SIZES)))]
            laid = with_tattoo(opened(path), chance, "test", colour=colour, size=float(chance.uniform(low, high)))
            picture = seen(laid.pixels, chance)
            sure = float(scores(network, [picture])[0])
            for name in ("all", colour, f"{low} to {high}", laid.kind):
                found.setdefault(name, []).append(sure >= threshold)
            if show is not None:
                show.mkdir(parents=True, exist_ok=True)
                name = f"{'found' if sure >= threshold else 'missed'}_{colour}_{laid.kind}_{number}_{sure:.1f}.png"
                Image.fromarray(picture).save(show / name)
    for name, hits in found.items():
        print(f"{name}: {sum(hits)} of {len(hits)} ({np.mean(hits):.3f})")
    for name, share, times in (("as they are", 0.0, 1), ("with lookalikes", 0.25, 4)):
        sure = alarms(network, paths, seed=seed + 1, share=share, times=times)
        print(f"flagged {name}: {(sure >= threshold).sum()} of {len(sure)} ({(sure >= threshold).mean():.3f})")
    for kind, change in {**LOOKALIKES, "pen mark": pen_mark}.items():
        made = [seen(change(opened(path), np.random.default_rng(seed + i)), None) for i, path in enumerate(paths)]
        print(f"flagged with {kind}: {(scores(network, made) >= threshold).sum()} of {len(made)}")
    cohort = [draw_photograph(np.random.default_rng(seed + i)).rgb for i in range(100)]
    sure = scores(network, [seen(one, None) for one in cohort])
    print(f"flagged of the synthetic cohort: {(sure >= threshold).sum()} of 100")


def main() -> None:
    """Train, choose the threshold, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pictures", type=int, default=2800)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=Path)
    given = parser.parse_args()
    learn, choose, held_out = parts_of(list(given.folder.glob("*.jpg")))
    print(f"{len(learn)} pictures to learn from, {len(choose)} to choose with, {len(held_out)} to measure with")
    pictures, ink = pool(learn, given.pictures + _CHECKED, given.seed + 1, "train", 0.22)
    network = train(pictures[:-_CHECKED], ink[:-_CHECKED], steps=given.steps, seed=given.seed)
    sure, has = scores(network, pictures[-_CHECKED:]), ink[-_CHECKED:].flatten(1).any(dim=1).numpy()
    print(f"{_CHECKED} new pictures, designs of the same family: area under the curve {roc_auc_score(has, sure):.3f}")
    given.out.mkdir(parents=True, exist_ok=True)
    export(network, given.out / "tattoos.onnx")
    plain = alarms(network, choose, seed=given.seed, share=0.0)
    alike = alarms(network, choose, seed=given.seed, share=0.25, times=4)
    threshold = float(np.quantile(plain, 1 - _ALARMS))
    print(f"threshold {threshold:.3f} (as they are {np.sort(plain)[-4:]}, with lookalikes {np.sort(alike)[-20::4]})")
    measure(network, held_out, threshold, seed=given.seed, show=given.show)


def export(network: InkNet, path: Path) -> None:
    """Write the network as ONNX, for pictures of any sides that are multiples of 32."""
    network = network.to(memory_format=torch.contiguous_format)
    free = {"picture": {2: "rows", 3: "columns"}, "ink": {2: "cell_rows", 3: "cell_columns"}}
    torch.onnx.export(
        network, (torch.zeros(1, 3, *SHAPE),), str(path), input_names=["picture"], output_names=["ink"],
        dynamic_axes=free, opset_version=17, dynamo=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
