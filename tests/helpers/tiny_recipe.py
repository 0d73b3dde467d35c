"""Recipes of the smallest run: a network of 8 channels on images of 64 pixels."""

OPTIONS = {
    "model": {"backbone": {"embed_dims": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]}},
    "runtime": {"batch_size": 4, "eval_batch_size": 4, "workers": 0, "log_every": 1},
    "evaluate": {"examples": 2},
    "split": {"train": 0.5, "val": 0.25, "test": 0.25},
}


def tiny_recipe(name: str, *cards: str, cycles: int = 1) -> dict:
    """A recipe of image labels of some cards."""
    return {
        "name": name,
        "cards": {"allow": list(cards)},
        "task_types": ["classification"],
        "run": {
            "base": ["_base_/swin_nano", "_base_/schedule", "_base_/views"],
            "image_size": 64,
            "cycles": cycles,
            "options": OPTIONS,
        },
    }
