"""Trains from a configuration, as OpenMMLab's tools/train.py does: ``python tools/train.py CONFIG [--work-dir DIR]``.

The same door as ``foundationx train``.
"""

import sys

from foundationx.apps.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
