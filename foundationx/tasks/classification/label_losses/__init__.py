"""Losses of image labels, one file each: ``model.heads.classification.options.loss``."""
