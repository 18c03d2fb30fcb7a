"""Method `lora`: low-rank adapters beside a backbone's linear layers, of images or of texts, merged into them before anything ships."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from pydantic import JsonValue

from pipelines.config import LoraMethod
from pipelines.core.errors import ConfigurationError
from pipelines.training.batches import stateless_seed
from pipelines.training.flips import tolerated_flips
from pipelines.training.gradient import train_from
from pipelines.training.linear import train_probe
from pipelines.training.material import Deadline, Material, Trained
from pipelines.training.regularisation import seeded_layers

if TYPE_CHECKING:
    from torch import nn

# Of a trained float32 number: its gradient, and AdamW's two moments.
_BYTES_OF_TRAINING = 12


def train_lora(material: Material, method: LoraMethod, deadline: Deadline | None = None) -> Trained:
    """Method `lora`: the probe's solution as the head's start, then adapters W + (alpha / rank) B A on every linear layer and the head.

    Hu et al. 2021, https://arxiv.org/abs/2106.09685, by peft. We differ in adapting the MLP's layers as well as attention's, as later work
    does (Dettmers et al. 2023, https://arxiv.org/abs/2305.14314), and in training the head, which is new. Adapters learn at
    `learning_rate * layer_decay`, the head at `learning_rate`. Merged weights answer as unmerged ones do but for rounding; what ships is
    the plain architecture.

    Args:
        material: Of the training.
        method: Rank, scale and recipe.
        deadline: Of whoever asked, besides `method.budget_minutes`; too short for one epoch leaves the probe.

    Raises:
        ConfigurationError: The backbone has no linear layer, as most convolutional networks have none; or one sample does not fit into
            memory.
        DataError: A class has too few samples for the probe, or a loss is not finite.
    """
    probe = train_probe(material, method.probe)
    flips = tolerated_flips(method.augment.flips, probe.network, material.validation, material.config.labels_per_sample)
    backbone = material.fresh_backbone(method.drop_path)
    n_all = sum(parameter.numel() for parameter in backbone.parameters())
    n_layers = len(linear_layers(backbone))
    adapted = with_adapters(backbone, method, material.config.seed, material.selected.spec.name)
    adapters = adapter_parameters(adapted.model)
    from torch import nn

    network = nn.Sequential(adapted.model, probe.network[1])
    trained = train_from(material, method, network, flips, deadline, groups=[adapters])
    merged = nn.Sequential(adapted.merge_and_unload(), network[1]).eval()
    n_trained = sum(parameter.numel() for parameter in adapters) + sum(parameter.numel() for parameter in network[1].parameters())
    n_all += sum(parameter.numel() for parameter in network[1].parameters())
    record = probe.record | trained.record | {"adapters": _described(adapted, n_layers, n_trained, n_all)}
    return replace(trained, network=merged, record=record, costs_seconds={**probe.costs_seconds, **trained.costs_seconds})


def with_adapters(backbone: nn.Module, method: LoraMethod, seed: int, name: str) -> Any:
    """Wraps peft's `LoraModel` around the backbone, whose linear layers get adapters in place; at first they change no answer.

    Args:
        backbone: Changed in place.
        method: Rank, scale and dropout.
        seed: Of the adapters' start.
        name: Of the architecture, for the error.

    Raises:
        ConfigurationError: It has no linear layer.
    """
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    layers = linear_layers(backbone)
    if not layers:
        raise ConfigurationError(
            got=f"method lora for {name}, which has no linear layer.",
            allowed="backbones with linear layers in attention or MLP: transformers of texts, ViT, DeiT, Swin, ConvNeXt, MLP-Mixer.",
            next_step="take method lp_ft or fine_tune with n_upper_blocks, or another backbone.",
        )
    config = LoraConfig(
        r=method.rank,
        lora_alpha=cast("int", method.alpha),
        lora_dropout=method.adapter_dropout,
        target_modules=layers,
        fan_in_fan_out=_holds_weights_transposed(backbone),
    )
    device = next(backbone.parameters()).device
    with seeded_layers(stateless_seed("lora", seed), "cpu"):
        adapted = LoraModel(backbone.to("cpu"), config, "default")
    adapted.model.to(device)
    return adapted


def linear_layers(backbone: nn.Module) -> list[str]:
    """Names of the backbone's linear layers, GPT-2's `Conv1D` among them: a linear layer that holds its weight as [in, out]."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    return [name for name, module in backbone.named_modules() if isinstance(module, nn.Linear | Conv1D)]


def _holds_weights_transposed(backbone: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D

    return any(isinstance(module, Conv1D) for module in backbone.modules())


def adapter_parameters(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that adapters have added."""
    return [parameter for name, parameter in network.named_parameters() if ".lora_" in name]


def _described(adapted: Any, n_layers: int, n_trained: int, n_all: int) -> dict[str, JsonValue]:
    config = adapted.peft_config["default"]
    return {
        "rank": config.r,
        "alpha": config.lora_alpha,
        # Counted before: peft shortens `target_modules` to endings that fit as many layers.
        "n_layers": n_layers,
        "n_trained": n_trained,
        "n_all": n_all,
        "trained_frac": n_trained / n_all,
        "training_bytes": _BYTES_OF_TRAINING * n_trained,
        "training_bytes_of_all": _BYTES_OF_TRAINING * n_all,
    }
