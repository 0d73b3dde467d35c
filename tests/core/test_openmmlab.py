"""Quirks of the mm* packages stay in one module: placeholder operators, silence, clear refusals."""

import importlib
import logging
import subprocess
import sys
import warnings

import pytest
from torch import nn

from foundationx.core import openmmlab
from foundationx.core.errors import ConfigError


@pytest.mark.slow
def test_mm_packages_import_without_a_word():
    neck = "{'type': 'mmdet.ChannelMapper', 'in_channels': [4], 'out_channels': 4, 'num_outs': 1}"
    code = f"from foundationx.core import openmmlab; openmmlab.build_mm({neck}); import mmcv.ops, mmseg.models"
    done = subprocess.run([sys.executable, "-W", "default", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_absent_operators_refuse_only_when_called():
    openmmlab.prepare()
    operators = importlib.import_module("mmcv._ext")
    if getattr(operators, "__file__", None):
        pytest.skip("mmcv has its compiled operators here")
    operator = operators.ms_deform_attn_forward
    with pytest.raises(RuntimeError, match="ms_deform_attn_forward"):
        operator(1, key=2)


def test_preparing_twice_leaves_the_first_placeholder():
    openmmlab.prepare()
    before = importlib.import_module("mmcv._ext")
    openmmlab.prepare()
    assert importlib.import_module("mmcv._ext") is before


@pytest.mark.slow
def test_stand_ins_leave_their_places_and_say_what_was_left_out():
    """In a process of its own: here anybody may have imported the libraries."""
    code = (
        "import sys; from foundationx.core import openmmlab as o; o.modules_of('mmdet')\n"
        "assert not {o.FULLY_SHARDED, o.PLOTTING, *o.UNUSED} & set(sys.modules)\n"
        "from mmdet.utils import mot_error_visualize\n"
        "import matplotlib; matplotlib.use('agg')\n"
        "assert mot_error_visualize.plt.figure().number == 1, 'the real library, when it is asked for'\n"
        "from mmengine.model.wrappers import MMFullyShardedDataParallel\n"
        "try: MMFullyShardedDataParallel()\n"
        "except RuntimeError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"import {openmmlab.FULLY_SHARDED} before" in done.stdout


def test_a_network_is_built_after_others_have_closed_the_log_files(tmp_path):
    """``logging.config.dictConfig`` closes all files of ``logging``; importing submitit runs it."""
    logger = openmmlab.MMLogger.get_instance("closed", log_file=str(tmp_path / "closed.log"))
    before = [handler for handler in logger.handlers if not isinstance(handler, logging.FileHandler)]
    for handler in set(logger.handlers) - set(before):
        handler.close()
    neck = {"type": "mmdet.ChannelMapper", "in_channels": [4], "out_channels": 4, "num_outs": 1}
    with pytest.raises(AttributeError):
        openmmlab.build_mm(neck).init_weights()
    with openmmlab.initialising():
        openmmlab.build_mm(neck).init_weights()
    assert logger.handlers == before


def test_quiet_holds_back_print_warning_and_log_and_then_lets_go(capsys, recwarn):
    with openmmlab.quiet():
        print("noise")
        warnings.warn("noise", stacklevel=1)
        assert not logging.getLogger("any").isEnabledFor(logging.WARNING)
    assert capsys.readouterr().out == "" and not recwarn.list
    assert logging.getLogger("any").isEnabledFor(logging.WARNING)
    print("heard")
    assert capsys.readouterr().out == "heard\n"


def test_quiet_lets_go_after_an_error():
    with pytest.raises(KeyError), openmmlab.quiet():
        raise KeyError("x")
    assert logging.getLogger("any").isEnabledFor(logging.WARNING)


def test_a_module_of_the_registry_is_built():
    neck = openmmlab.build_mm({"type": "mmdet.ChannelMapper", "in_channels": [4, 8], "out_channels": 6, "num_outs": 3})
    assert isinstance(neck, nn.Module) and neck.convs[1].conv.weight.shape[:2] == (6, 8)


def test_the_callers_dictionary_is_left_as_it_was():
    config = {"type": "mmdet.ChannelMapper", "in_channels": [4], "out_channels": 6, "num_outs": 1}
    openmmlab.build_mm(config)
    assert config["type"] == "mmdet.ChannelMapper"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"type": "mmdet.SwinTransfomer"}, "did you mean 'SwinTransformer'?"),
        ({"type": "SwinTransformer"}, "mmdet.NAME or mmseg.NAME"),
        ({"type": "timm.SwinTransformer"}, "mmdet.NAME or mmseg.NAME"),
        ({"embed_dims": 96}, "mmdet.NAME or mmseg.NAME"),
        ({"type": "mmdet.SwinTransformer", "embed_dim": 96}, "unexpected keyword argument 'embed_dim'"),
        ({"type": "mmdet.ResNet", "depth": 19}, "invalid depth 19 for resnet"),
        ({"type": "mmdet.SwinTransformer", "embed_dims": -1}, "negative dimension -1"),
        ({"type": "mmdet.SwinTransformer", "num_heads": (0, 1, 1, 1)}, "ZeroDivisionError"),
    ],
)
def test_a_wrong_configuration_is_named(config, said):
    with pytest.raises(ConfigError) as caught:
        openmmlab.build_mm(config)
    assert said in str(caught.value)
