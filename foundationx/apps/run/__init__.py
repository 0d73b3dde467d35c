"""Training and prediction as the command line, ``tools/``, the Python API and the mmengine adapter call them."""
