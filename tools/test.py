"""Evaluates a checkpoint, as OpenMMLab's tools/test.py does: ``python tools/test.py CHECKPOINT [--split test]``.

The same door as ``foundationx eval``; the configuration is inside the checkpoint.
"""

import sys

from foundationx.apps.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["eval", *sys.argv[1:]]))
