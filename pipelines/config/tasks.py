"""What goes with which task: backbones, changes of training samples, corruptions; and where recipes for texts begin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines.config.adaptation import AdaptMethod, Method, plain_method
from pipelines.config.backbones import Backbone, TransformersBackbone
from pipelines.config.data import DataSection
from pipelines.config.gates import BehaviourGate, Gate, RobustnessGate
from pipelines.config.methods import AutoMethod, LoraMethod, Recipe, SetFitMethod

# By task: `augment.policy` and the corruptions of the gate `robustness`.
POLICIES: Mapping[str, tuple[str, ...]] = {
    "image": ("none", "shift_scale_rotate", "rand_augment"),
    "text": ("none", "token_dropout"),
}
CORRUPTIONS: Mapping[str, tuple[str, ...]] = {
    "image": ("blur", "noise", "brightness", "jpeg"),
    "text": ("typos", "deletions", "case", "spaces"),
}
# Transformers are tuned at rates far below those of convolutions (Devlin et al. 2018, https://arxiv.org/abs/1810.04805: 2e-5 to 5e-5 for
# all layers; Howard and Ruder 2018 for rates that fall on the way down), and no picture is turned.
_TEXT_RECIPE: Mapping[str, Any] = {"learning_rate": 1e-4, "layer_decay": 0.9, "weight_decay": 0.01}
_RECIPES = ("fine_tune", "lp_ft", "gradual", "scratch")


def with_text_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a conf file for texts, with what it does not say of its recipe and its corruptions; what it says stays."""
    gates = values.get("gates")
    changed = {"gates": [_with_corruptions(gate) for gate in gates]} if isinstance(gates, list | tuple) else {}
    return {**values, **changed, **_method_of(values.get("method", {"kind": "auto"}))}


def _method_of(method: Any) -> dict[str, Any]:
    if not isinstance(method, Mapping):
        return {}
    if method.get("kind") == "auto" and isinstance(inner := method.get("fine_tune", {}), Mapping):
        return {"method": {**method, "fine_tune": with_text_recipe(inner)}}
    return {"method": with_text_recipe(method)} if method.get("kind") in _RECIPES else {}


def _with_corruptions(gate: Any) -> Any:
    return {"corruptions": CORRUPTIONS["text"], **gate} if isinstance(gate, Mapping) and gate.get("kind") == "robustness" else gate


def with_text_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a recipe for texts, with what it does not say; what it says stays."""
    augment = recipe.get("augment", {})
    changed = {"policy": "none", **augment} if isinstance(augment, Mapping) else augment
    return {**_TEXT_RECIPE, **recipe, "augment": changed}


def backbone_problem(task: str, backbone: Backbone) -> str:
    """What is wrong with a backbone for a task; empty where nothing is."""
    if isinstance(backbone, TransformersBackbone) == (task == "text"):
        return ""
    allowed = "transformers" if task == "text" else "shipped, timm or best_of"
    return f"backbone is of kind {backbone.kind}, which does not read a {task}; task: {task} takes {allowed}"


def method_problem(task: str, method: Method) -> str:
    """What is wrong with a method for a task, and with how it changes training samples; empty where nothing is."""
    if task != "image" and isinstance(method, AdaptMethod | LoraMethod):
        return f"method {method.kind} is there for images only; take auto, probe, prototype, fine_tune, lp_ft, gradual, scratch or setfit"
    if task != "text" and isinstance(plain_method(method), SetFitMethod):
        return "method setfit is there for texts only; take auto, probe, prototype, fine_tune, lp_ft, gradual, scratch or lora"
    if isinstance(method, AdaptMethod):
        return _first_problem(_recipe_problem(task, part) for part in (method.source, method.dann.recipe, method.shot.recipe))
    return _recipe_problem(task, method)


def _first_problem(problems: Iterable[str]) -> str:
    return next(filter(None, problems), "")


def _recipe_problem(task: str, method: Method | Recipe) -> str:
    recipe = method.fine_tune if isinstance(method, AutoMethod) else method
    if not isinstance(recipe, Recipe):
        return ""
    augment = recipe.augment
    if augment.policy not in POLICIES[task]:
        return f"augment.policy {augment.policy} does not fit task: {task}; allowed: {', '.join(POLICIES[task])}"
    if task == "text" and (augment.flips != "none" or augment.mixup_alpha > 0 or augment.cutmix_alpha > 0):
        return "augment has flips, mixup_alpha or cutmix_alpha, which texts do not have; remove them"
    if task == "text" and recipe.drop_path > 0:
        return "drop_path is for backbones of timm; transformers have dropout of their own, in config.json"
    return ""


def pairs_problem(labels_per_sample: str, processes: int, method: Method) -> str:
    """Why a project cannot learn from pairs of samples; empty where it can, or does not.

    Args:
        labels_per_sample: Of the project.
        processes: Of its section `compute`.
        method: Of the project.
    """
    if not isinstance(method, SetFitMethod):
        return ""
    if labels_per_sample != "one":
        return (
            f"method setfit with labels_per_sample: {labels_per_sample}; it is for one, as two texts have the same label or they do not: "
            "with many take auto, probe, prototype, fine_tune, lp_ft or gradual"
        )
    if processes > 1:
        return f"method setfit runs in one process, not in {processes}; set compute.processes: 1, or take lp_ft or fine_tune"
    return ""


def adaptation_problem(task: str, labels_per_sample: str, processes: int, method: AdaptMethod) -> str:
    """Why a project cannot adapt so; empty where it can.

    Args:
        task: Of the project.
        labels_per_sample: Of the project.
        processes: Of its section `compute`.
        method: As the method of the project, or its section `adaptation`.
    """
    if problem := method_problem(task, method):
        return problem
    if method.by == "shot" and labels_per_sample != "one":
        return "adapt by: shot is for one label a sample, as answers exclude each other in its loss; with many write by: bn, coral or dann"
    if method.by in ("dann", "shot") and processes > 1:
        return f"adapt by: {method.by} runs in one process, not in {processes}; set compute.processes: 1, or write by: bn or coral"
    return ""


def gate_problem(task: str, gates: Sequence[Gate]) -> str:
    """What is wrong with what gates ask of a task; empty where nothing is."""
    for gate in gates:
        if isinstance(gate, BehaviourGate) and task != "image":
            return "the gate behaviour alters images; it is not there for other tasks yet"
        unfit = [name for name in gate.corruptions if name not in CORRUPTIONS[task]] if isinstance(gate, RobustnessGate) else []
        if unfit:
            return f"the gate robustness asks for {', '.join(unfit)}; corruptions of task: {task} are {', '.join(CORRUPTIONS[task])}"
    return ""


def data_problem(task: str, data: DataSection) -> str:
    """What is wrong with what is said of the data; empty where nothing is."""
    return "data.slices names text, which holds the samples themselves" if task == "text" and "text" in data.slices else ""
