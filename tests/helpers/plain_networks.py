"""Plain ResNet-50, ConvNeXt and ViT written from their papers under the published names: what imports are held against.

Nothing of mmdet, mmseg or this project is used; ``forward`` gives the pooled feature (B, C).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """torchvision's names; the 3 x 3 convolution strides."""

    def __init__(self, taken: int, width: int, stride: int):
        super().__init__()
        self.stride = stride
        self.conv1, self.bn1 = nn.Conv2d(taken, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample = None
        if stride > 1 or taken != 4 * width:
            conv = nn.Conv2d(taken, 4 * width, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(4 * width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn3(self.conv3(self.bn2(self.conv2(y)).relu()))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class PlainResNet(nn.Module):
    """ResNet-50 of any width."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        taken = width
        for i, depth in enumerate((3, 4, 6, 3)):
            stage = []
            for j in range(depth):
                stage.append(Bottleneck(taken, width * 2**i, 2 if i and not j else 1))
                taken = 4 * width * 2**i
            self.add_module(f"layer{i + 1}", nn.Sequential(*stage))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        x = F.max_pool2d(self.bn1(self.conv1(images)).relu(), 3, 2, 1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return x.mean((2, 3))


def norm_channels(maps: Tensor, norm: nn.Module) -> Tensor:
    """Layer norm over the channels of (B, C, H, W), by its formula."""
    centred = maps - maps.mean(1, keepdim=True)
    scaled = centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
    return scaled * norm.weight[:, None, None] + norm.bias[:, None, None]


class ConvNeXtBlock(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.dwconv, self.norm = nn.Conv2d(dim, dim, 7, padding=3, groups=dim), nn.LayerNorm(dim)
        self.pwconv1, self.pwconv2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """The depthwise convolution as a sum over its 49 places, the linear layers as 1 x 1 convolutions."""
        rows, columns = x.shape[2:]
        around, weight = F.pad(x, (3, 3, 3, 3)), self.dwconv.weight[:, 0]
        y = self.dwconv.bias[:, None, None].expand_as(x)
        for i in range(7):
            for j in range(7):
                y = y + around[:, :, i : i + rows, j : j + columns] * weight[:, i, j, None, None]
        y = norm_channels(y, self.norm)
        y = F.conv2d(y, self.pwconv1.weight[:, :, None, None], self.pwconv1.bias)
        y = y * 0.5 * (1 + torch.erf(y / 2**0.5))
        y = F.conv2d(y, self.pwconv2.weight[:, :, None, None], self.pwconv2.bias)
        return x + self.gamma[:, None, None] * y


class PlainConvNeXt(nn.Module):
    """Its authors' names; the last norm is that of the averaged feature, as in their classifier."""

    def __init__(self, depths, dims):
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, dims[0], 4, 4), nn.LayerNorm(dims[0]))
        down = [nn.Sequential(nn.LayerNorm(dims[i]), nn.Conv2d(dims[i], dims[i + 1], 2, 2)) for i in range(3)]
        self.downsample_layers = nn.ModuleList([stem, *down])
        self.stages = nn.ModuleList(
            nn.Sequential(*(ConvNeXtBlock(dim) for _ in range(depth))) for depth, dim in zip(depths, dims, strict=True)
        )
        self.norm = nn.LayerNorm(dims[-1])

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        x = images
        for i, (down, stage) in enumerate(zip(self.downsample_layers, self.stages, strict=True)):
            x = down[1](norm_channels(x, down[0])) if i else norm_channels(down[0](x), down[1])
            x = stage(x)
        return norm_channels(x.mean((2, 3), keepdim=True), self.norm).flatten(1)


class ViTBlock(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn = nn.Module()
        self.attn.qkv, self.attn.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Module()
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C), head by head."""
        query, key, value = self.attn.qkv(self.norm1(x)).chunk(3, -1)
        result, width = [], x.shape[-1] // self.heads
        for head in range(self.heads):
            part = slice(head * width, (head + 1) * width)
            weight = (query[..., part] @ key[..., part].transpose(1, 2) / width**0.5).softmax(-1)
            result.append(weight @ value[..., part])
        x = x + self.attn.proj(torch.cat(result, -1))
        return x + self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x))))


class PlainViT(nn.Module):
    """timm's names; the feature is the mean of the patches' tokens, without the class token."""

    def __init__(self, size: int, patch: int, dim: int, depth: int, heads: int):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, (size // patch) ** 2 + 1, dim))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, dim, patch, patch)
        self.blocks = nn.ModuleList(ViTBlock(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        x = self.patch_embed.proj(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 1:].mean(1)
