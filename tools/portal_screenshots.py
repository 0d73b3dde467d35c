"""Pictures of every view of the portal for the documentation: desktop, phone, dark.

python tools/portal_screenshots.py [--out docs/images/portal] [--only compare ...]
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from PIL import Image

from tests.helpers.chromium import chromium

LOOKS = {
    "desktop": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "phone": {"viewport": {"width": 390, "height": 800}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
}
CHOSEN = "pick=rsna_pneumonia&pick=siim_acr&pick=chestx_det"
VIEWS = {
    "find": f"q=pneumonia&task=detection&open=licence&{CHOSEN}",
    "dataset": "view=dataset&name=rsna_pneumonia",
    "labels": "view=labels&task=detection",
    "charts": "view=charts&access=open",
    "tables": "view=tables&rows=errors",
    "compare": f"view=compare&{CHOSEN}",
}
"""Views of the page that is a file, by the name of their picture."""

TABLE = """name,url,year,modality,structure,samples,label,task,diseases
NIH Chest X-ray 14,https://www.kaggle.com/nih-chest-xrays/data,2017,X-Ray,Lung,112.1k,True,Cls,Thorax diseases
CheXpert,https://stanfordmlgroup.github.io/,2021,X-Ray,Lung,224.3k,True,Cls,Diabetic retinopathy
RANZCR CLiP,https://www.kaggle.com/c/ranzcr-clip-catheter-line-classification,2020,X-Ray,Breast,30.1k,True,Cls,NA
NODE21,https://node21.grand-challenge.org/,2021,X-Ray,Lung,5.5k,True,Det,Breast cancer
Chest X-ray PA Dataset,https://data.mendeley.com/datasets/jctsfj2sfn/1,2021,X-Ray,Lung,4.6k,False,Cls,COVID-19
"""
"""Rows of the table of Project Imaging-X (MIT licence) with errors that are known."""


def small_png(png: bytes) -> bytes:
    """A picture with at most 128 colours."""
    image = Image.open(io.BytesIO(png)).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def main() -> None:
    """Writes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images/portal"))
    parser.add_argument("--only", nargs="+", choices=VIEWS, default=list(VIEWS), help="views to draw (default: all)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        folder = Path(name)
        (folder / "imaging_x.csv").write_text(TABLE, encoding="utf-8")
        page_file = folder / "portal.html"
        words = ["portal", "--out", str(page_file), "--table", str(folder / "imaging_x.csv")]
        own = {name: value for name, value in os.environ.items() if name != "FOUNDATIONX_REGISTRY"}
        subprocess.run([sys.executable, "-m", "foundationx.apps.cli.main", *words], check=True, env=own)
        for look, settings in LOOKS.items():
            page = browser.new_page(**settings)
            for view in options.only:
                page.goto(f"{page_file.as_uri()}?{VIEWS[view]}")
                page.wait_for_selector("main h1")
                (options.out / f"{view}_{look}.png").write_bytes(small_png(page.screenshot()))
    print(f"written: {len(options.only) * len(LOOKS)} pictures in {options.out}")


if __name__ == "__main__":
    main()
