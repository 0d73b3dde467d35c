"""Pictures of the portal's views that need its server, after a small training on generated copies.

python tools/portal_work_screenshots.py [--out docs/images/portal]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from portal_screenshots import LOOKS, small_png

from tests.helpers.chromium import chromium
from tests.helpers.portal_process import PortalProcess, wait_until
from tests.helpers.tiny_recipe import tiny_recipe

CARDS = ("shenzhen", "montgomery")
NAME = "tuberculosis"
VIEWS = {
    "fuse": (f"view=fuse&pick=shenzhen&pick=montgomery&fusion={NAME}&as={NAME}", "#fuse-done"),
    "runs": ("view=runs", "#runs-compared table"),
    "run": (f"view=run&run={NAME}", "#run-curves svg"),
}
"""Address of every view, and what stands there when it is drawn, by the name of its picture."""


def train(portal: PortalProcess) -> None:
    """Makes copies, fuses them and trains a network of 8 channels, all by the portal."""
    copies = portal.post("/api/jobs", {"kind": "phantoms", "cards": list(CARDS), "images": 24, "size": 128})
    wait_until(lambda: not portal.get(f"/api/jobs/{copies['id']}")["running"], 600)
    lock = {"schedule": {"lock": {"classification": 0.5}, "lock_until": 1.0}}
    recipe = tiny_recipe(NAME, *CARDS, cycles=4)
    recipe["run"]["options"] = recipe["run"]["options"] | lock
    portal.post("/api/fuse", {"recipe": recipe})
    portal.post("/api/runs/launch", {"name": NAME})
    state = wait_until(
        lambda: (now := portal.get(f"/api/run?run={NAME}")["state"]) in ("finished", "failed") and now, 1800
    )
    if state == "failed":
        sys.exit(portal.get(f"/api/run?run={NAME}")["output"])


def main() -> None:
    """Writes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images/portal"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, PortalProcess(Path(name, "data"), Path(name, "work_dirs")) as portal:
        train(portal)
        with chromium() as browser:
            for look, settings in LOOKS.items():
                page = browser.new_page(**settings)
                page.goto(portal.url)
                for view, (query, until) in VIEWS.items():
                    page.goto(f"http://{portal.host}/?{query}")
                    page.wait_for_selector(until, timeout=60_000)
                    page.wait_for_timeout(1500)  # answers of the server are drawn
                    (out / f"{view}_{look}.png").write_bytes(small_png(page.screenshot(full_page=view == "run")))
    print(f"written: {len(VIEWS) * len(LOOKS)} pictures in {out}")


if __name__ == "__main__":
    main()
