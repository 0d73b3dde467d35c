"""Puts the rooms together: what the command line, ``tools/`` and the mmengine adapter call."""
