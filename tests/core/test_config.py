"""Configuration files: what a user mistypes is named, with the nearest right word."""

from pathlib import Path

import pytest

from foundationx.apps.cli.options import parse_options
from foundationx.core.config.load import load_config, parse_config
from foundationx.core.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
MINIMAL = {
    "name": "x",
    "model": {"backbone": {"type": "mmdet.SwinTransformer"}},
    "datasets": [{"card": "a"}],
    "schedule": {"cycles": 1},
}


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "quickstart").glob("*.py")), ids=lambda path: path.stem)
def test_every_shipped_configuration_is_valid(path):
    assert load_config(path).name == path.stem


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shedule": {}}, "did you mean 'schedule'"),
        ({"schedule": {"cycles": 1, "cylces": 2}}, "schedule.cylces"),
        ({"schedule": {"cycles": 0}}, "schedule.cycles"),
        ({"image_size": 100}, "image_size"),
        ({"split": {"train": 0.5, "val": 0.1, "test": 0.1}}, "is 0.7, not 1"),
        ({"teacher": {"momentum": 1.5}}, "not in"),
        ({"datasets": [{"card": "a"}, {"card": "a"}]}, "more than once"),
        ({"datasets": [{"crad": "a"}]}, "did you mean 'card'"),
        ({"model": {"backbone": {}}}, "needs a `type`"),
    ],
)
def test_faults_name_key_and_fix(change, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_config(MINIMAL | change, "here.py")
    assert "here.py" in str(caught.value)


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(ConfigError, match="there is no such file"):
        load_config(tmp_path / "none.py")
    (tmp_path / "broken.py").write_text("name = (")
    with pytest.raises(ConfigError, match=r"broken\.py"):
        load_config(tmp_path / "broken.py")


def test_options_change_nested_values():
    options = parse_options(["schedule.cycles=3", "runtime.batch_size=4", "optimizer.betas=(0.5,0.9)"])
    config = load_config(ROOT / "configs" / "quickstart" / "phantom.py", options)
    assert (config.schedule.cycles, config.runtime.batch_size, config.optimizer.betas) == (3, 4, (0.5, 0.9))
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        parse_options(["schedule.cycles"])


def test_a_resolved_configuration_reads_back_the_same():
    config = load_config(ROOT / "configs" / "quickstart" / "phantom.py")
    assert parse_config(config.model_dump(mode="json"), "json") == config


@pytest.mark.parametrize(
    ("name", "channels"),
    [("swin_nano", (32, 256)), ("swin_tiny", (96, 768)), ("swin_base", (128, 1024)), ("swin_large", (192, 1536))],
)
def test_backbones_have_the_published_widths(name, channels):
    """Stage widths of docs/methods/foundation_x.md, "1.1 Backbone", counted from the configuration: the first, doubled
    three times."""
    from mmengine.config import Config

    model = Config.fromfile(str(ROOT / "configs" / "_base_" / f"{name}.py")).to_dict()["model"]
    first = model["backbone"]["embed_dims"]
    assert (first, first * 8) == channels and len(model["backbone"]["depths"]) == 4
    assert model["detection"]["sharing"] == ("queries" if name == "swin_large" else "decoder")
