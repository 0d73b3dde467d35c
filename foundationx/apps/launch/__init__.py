"""Engines of others that start the processes of a training: one file each, around the same command."""
