"""Architectures as data: names, arguments, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch

from pipelines.core.backbones import BackboneSpec, architecture_names, build_backbone, is_architecture, names_with_classifier
from pipelines.core.errors import ConfigurationError


def spec(name: str = "test_resnet", channels: int = 3, **arguments: Any) -> BackboneSpec:
    return BackboneSpec(name=name, in_channels=channels, model_args=arguments, origin="test", weights_sha256=None)


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_timms_own_without_a_classifier(channels: int) -> None:
    own = timm.create_model("test_resnet", in_chans=channels, num_classes=0)
    shapes = {key: value.shape for key, value in build_backbone(spec(channels=channels)).state_dict().items()}
    assert shapes == {key: value.shape for key, value in own.state_dict().items()}


def test_an_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(
        ConfigurationError, match=r"'vit_tinny'\. Allowed: a name that timm knows; the nearest are .*vit_tiny.*regraft backbones"
    ):
        build_backbone(spec("vit_tinny"))
    with pytest.raises(ConfigurationError, match=r"nearest are .*mobilenetv1_025"):
        build_backbone(spec("mobilenetv1_02"))


@pytest.mark.parametrize("name", ["hf-hub:timm/resnet18.a1_in1k", "local-dir:/tmp", "../resnet18", ""])
def test_a_name_is_never_a_place(name: str) -> None:
    assert not is_architecture(name)
    with pytest.raises(ConfigurationError, match="a name that timm knows"):
        build_backbone(spec(name))


@pytest.mark.parametrize(
    "argument", ["pretrained", "checkpoint_path", "pretrained_cfg", "cache_dir", "in_chans", "num_classes", "features_only", "device"]
)
def test_arguments_that_would_load_or_change_the_kind_are_refused(argument: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"model_args with {argument} for test_resnet.*remove them from model_args"):
        build_backbone(spec(**{argument: "x"}))


@pytest.mark.parametrize(
    "arguments", [{"nonsense": 1}, {"act_layer": "nonsense"}, {"block": 3}, {"layers": 1.5}, {"norm_layer": "nonsense"}]
)
def test_what_a_constructor_refuses_is_a_configuration_error(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"backbone\.model_args \{.*\} and 3 input channels for test_resnet: \w+(: .+)?\. Allowed"):
        build_backbone(spec(**arguments))


def test_an_assertion_without_a_text_still_says_what_it_is() -> None:
    with pytest.raises(ConfigurationError, match=r"for test_resnet: AssertionError\. Allowed"):
        build_backbone(spec(output_stride=7))


def test_lists_from_json_become_the_tuples_of_timm() -> None:
    with torch.device("meta"):
        narrow = build_backbone(
            BackboneSpec.model_validate_json(
                '{"name": "test_convnext", "in_channels": 3, "model_args": {"dims": [8, 8, 8, 8]}, "origin": "t", "weights_sha256": null}'
            )
        )
    assert narrow.num_features == 8


def test_the_classifier_is_what_the_names_have_besides() -> None:
    with torch.device("meta"):
        backbone = build_backbone(spec())
    assert names_with_classifier(spec()) - backbone.state_dict().keys() == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize(("name", "width"), [("mobilenetv1_025", 256), ("mobilenetv1_050", 512), ("mobilenetv1_075", 768)])
def test_widths_of_mobilenet_that_timm_has_no_names_for(name: str, width: int) -> None:
    assert name in architecture_names("mobilenetv1_*")
    assert not timm.is_model(name)
    with torch.device("meta"):
        network = build_backbone(spec(name, pad_type="same"))
    assert network.head_hidden_size == width
    assert any(type(module).__name__ == "Conv2dSame" for module in network.modules())


@pytest.mark.shared("that these widths are those of the published checkpoints")
@pytest.mark.parametrize("stem", ["mobilenetv1_025.tfhub_float_in1k", "mobilenetv1_075.coral_qat_in1k"])
def test_published_widths(shared_dir: Path, stem: str) -> None:
    stored = safetensors.torch.load_file(shared_dir / "weights" / f"{stem}.safetensors")
    with torch.device("meta"):
        network = build_backbone(spec(stem.partition(".")[0]))
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    assert shapes == {key: value.shape for key, value in stored.items() if not key.startswith("classifier.")}
