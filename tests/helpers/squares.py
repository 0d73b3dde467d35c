"""The smallest detection task: a bright or a dark square in each image."""

import torch

from foundationx.tasks.detection.boxes import iou
from foundationx.tasks.detection.head_detection_unihead import truth_of


def learn_squares(network, batch, key, steps):
    """Trains on eight images with a square each. Returns the IoU of each best box, and whether its class is right."""
    batch.centred_boxes, batch.box_classes = batch.centred_boxes[:, :1], torch.arange(8)[:, None] % 2
    batch.centred_boxes[..., 2:] = 0.35
    batch.labels[:] = 1
    images = torch.randn(8, 3, 64, 64) * 0.1
    for image, (box, kind) in enumerate(zip(batch.centred_boxes[:, 0] * 64, batch.box_classes[:, 0], strict=True)):
        (x1, y1), (x2, y2) = (box[:2] - box[2:] / 2).int().tolist(), (box[:2] + box[2:] / 2).int().tolist()
        images[image, :, y1:y2, x1:x2] += 2 - 4 * kind
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        sum(network.losses(images, batch)[1].values()).backward()
        optimizer.step()
    with torch.no_grad():
        prediction = network.eval().predict(images, key)
    overlaps = iou(prediction.relative_boxes[:, 0], truth_of(batch).boxes[:, 0])
    return overlaps, prediction.box_classes[:, 0] == batch.box_classes[:, 0]
