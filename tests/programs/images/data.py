"""Images in folders, one for each class, with augmentation."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset


class ImageFolder(Dataset):
    def __init__(self, root, transform=None):
        self.classes = sorted(folder.name for folder in Path(root).iterdir() if folder.is_dir())
        self.samples = [
            (file, k) for k, name in enumerate(self.classes) for file in sorted(Path(root, name).glob("*.png"))
        ]
        self.transform = transform

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, i):
        file, label = self.samples[i]
        image = torch.from_numpy(np.asarray(Image.open(file).convert("RGB")).copy()).permute(2, 0, 1) / 255.0
        return self.transform(image) if self.transform else image, label


class RandomCropAndFlip:
    def __init__(self, padding):
        self.padding = padding

    def __call__(self, image):
        size = image.shape[-1]
        image = torch.nn.functional.pad(image, [self.padding] * 4)
        top, left = torch.randint(2 * self.padding + 1, (2,)).tolist()
        image = image[:, top : top + size, left : left + size]
        return image.flip(-1) if torch.rand(()) < 0.5 else image
