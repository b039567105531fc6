"""The PyTorch way: a loop as blogs and PyTorch's own transfer learning tutorial have it, channels last.

    python pytorch.py WEIGHTS DATA [--image-size N] [--epochs N] [--seed N] [--tuned] [--learning-rate X]

Needs `torch`, `pillow` and `efficientnet_lite_pytorch`. WEIGHTS is the `.pth` file that the backbone of tlkeras is made
from. DATA has `train/` and `test/`. `--tuned` trains the last two stages as well, but for BatchNorm.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

# Lite0 has blocks 11 to 14 in the last but one stage; the last has block 15 and the convolution behind it.
_LAST_STAGES = ("_blocks.11.", "_blocks.12.", "_blocks.13.", "_blocks.14.", "_blocks.15.", "_conv_head")


class Photos(Dataset):
    """The photos of a folder of class folders, as torchvision's `ImageFolder` gives them."""

    def __init__(self, folder: Path, size: int):
        self.classes = sorted(path.name for path in folder.iterdir())
        self.files = sorted(folder.glob("*/*"))
        self.size = size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int):
        path = self.files[index]
        image = Image.open(path).convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
        return (pixels - 127) / 128, self.classes.index(path.parent.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("weights")
    parser.add_argument("data", type=Path)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tuned", action="store_true")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    parts = [Photos(given.data / part, given.image_size) for part in ("train", "test")]
    training, test = (
        DataLoader(part, 32, shuffle=part is parts[0], num_workers=2, persistent_workers=True) for part in parts
    )

    model = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=given.weights, image_size=given.image_size, dropout_rate=0.0
    )
    for name, weight in model.named_parameters():
        weight.requires_grad = given.tuned and name.startswith(_LAST_STAGES) and "_bn" not in name
    model._fc = nn.Sequential(nn.Dropout(0.2), nn.Linear(model._fc.in_features, len(parts[0].classes)))
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], given.learning_rate)
    model.eval()  # BatchNorm stays on its moving statistics.
    for epoch in range(given.epochs):
        model._fc.train()
        for images, labels in training:
            loss = nn.functional.cross_entropy(model(images.contiguous(memory_format=torch.channels_last)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model._fc.eval()
        print(f"epoch {epoch + 1}: test {accuracy_on(model, test):.4f}", flush=True)
    print(f"accuracy {accuracy_on(model, test):.4f}")


@torch.no_grad()
def accuracy_on(model: nn.Module, photos: DataLoader) -> float:
    """Gives the share of photos that are named rightly."""
    right = sum(
        (model(images.contiguous(memory_format=torch.channels_last)).argmax(1) == labels).sum().item()
        for images, labels in photos
    )
    return right / len(photos.dataset)


if __name__ == "__main__":
    main()
