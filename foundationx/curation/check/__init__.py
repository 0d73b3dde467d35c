"""Checks a downloaded dataset against its card.

files    annotation files and folders that are missing, image files without annotation
labels   published counts, classes and official splits
pixels   every image decoded, every box and mask compared with its image
run      all of it for one dataset
"""
