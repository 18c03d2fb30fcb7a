"""What goes with which task: backbones, changes of training samples, corruptions; and where recipes begin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines.config.adaptation import AdaptMethod, Method, plain_method
from pipelines.config.backbones import Backbone
from pipelines.config.data import DataSection
from pipelines.config.gates import Gate, RobustnessGate
from pipelines.config.methods import AutoMethod, Recipe, SetFitMethod
from pipelines.config.zero_shot import ZeroShotSection

# By task: `augment.policy` and the corruptions of the gate `robustness`.
POLICIES: Mapping[str, tuple[str, ...]] = {
    "image": ("none", "shift_scale_rotate", "rand_augment"),
    "text": ("none", "token_dropout"),
    "audio": ("none", "spec_augment"),
}
CORRUPTIONS: Mapping[str, tuple[str, ...]] = {
    "image": ("blur", "noise", "brightness", "jpeg"),
    "text": ("typos", "deletions", "case", "spaces"),
    "audio": ("noise", "gain", "low_pass"),
}
# By task: the kinds of backbones that read it.
BACKBONES: Mapping[str, tuple[str, ...]] = {
    "image": ("shipped", "timm", "best_of"),
    "text": ("transformers",),
    "audio": ("spectrogram",),
}
_METHODS = ("auto", "probe", "prototype", "fine_tune", "lp_ft", "gradual", "scratch")
METHODS: Mapping[str, tuple[str, ...]] = {
    "image": (*_METHODS, "lora", "adapt"),
    "text": (*_METHODS, "lora", "setfit", "adapt"),
    "audio": (*_METHODS, "adapt"),
}
# By task, what a recipe says where nothing is stated. Transformers are tuned at rates far below those of convolutions (Devlin et al. 2018,
# https://arxiv.org/abs/1810.04805: 2e-5 to 5e-5 for all layers; Howard and Ruder 2018 for rates that fall on the way down).
_RECIPE: Mapping[str, Mapping[str, Any]] = {
    "text": {"learning_rate": 1e-4, "layer_decay": 0.9, "weight_decay": 0.01},
    "audio": {"batch_size": 16},  # a sound is up to 64 patches
}
_POLICY: Mapping[str, str] = {"text": "none", "audio": "spec_augment"}
# How loud a sound is says how far the microphone was: without it a network learns the levels of the speakers that it heard, and fails on a
# quieter one (docs/guides/audio.md has the measurements).
_GAIN_DB: Mapping[str, float] = {"audio": 12.0}
# By task, what the recipes of `dann` and `shot` say where nothing is stated: they go on from a model that is trained already, at half the
# rate, and with nothing changed at random.
_ADAPT_RECIPE: Mapping[str, Mapping[str, Any]] = {
    "text": {"epochs": 4, "learning_rate": 5e-5, "layer_decay": 0.9, "weight_decay": 0.01},
    "audio": {"batch_size": 16},
}
# Adapters start at no effect and are few: they take higher rates (Hu et al. 2021, https://arxiv.org/abs/2106.09685: 4e-4 to 5e-4).
_LORA_RATE: Mapping[str, float] = {"text": 5e-4}
_RECIPES = ("fine_tune", "lp_ft", "gradual", "scratch", "lora")


def with_task_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a conf file, with what it does not say of recipes and corruptions for a task other than images; what it says stays."""
    task = str(values.get("task"))
    if task not in _RECIPE:
        return dict(values)
    gates = values.get("gates")
    changed: dict[str, Any] = {"gates": [_with_corruptions(gate, task) for gate in gates]} if isinstance(gates, list | tuple) else {}
    changed["adaptation"] = _adapting(values.get("adaptation", {}), task)
    return {**values, **changed, **_method_of(values.get("method", {"kind": "auto"}), task)}


def _method_of(method: Any, task: str) -> dict[str, Any]:
    if not isinstance(method, Mapping):
        return {}
    if method.get("kind") == "auto" and isinstance(inner := method.get("fine_tune", {}), Mapping):
        return {"method": {**method, "fine_tune": with_task_recipe(inner, task)}}
    if method.get("kind") == "adapt":
        source = _method_of(method.get("source", {"kind": "auto"}), task)
        return {"method": {**_adapting(method, task), **({"source": source["method"]} if source else {})}}
    return {"method": with_task_recipe(method, task)} if method.get("kind") in _RECIPES else {}


def _adapting(section: Any, task: str) -> Any:
    """What is said of `adapt`, with what it does not say of the way taken; settings of another way are refused, so it gets none."""
    by = section.get("by", "shot") if isinstance(section, Mapping) else None
    way = section.get(by, {}) if by in ("dann", "shot") else None
    if not isinstance(way, Mapping) or not isinstance(recipe := way.get("recipe", {}), Mapping):
        return section
    return {**section, by: {**way, "recipe": {**_ADAPT_RECIPE[task], **recipe}}}


def _with_corruptions(gate: Any, task: str) -> Any:
    return {"corruptions": CORRUPTIONS[task], **gate} if isinstance(gate, Mapping) and gate.get("kind") == "robustness" else gate


def with_task_recipe(recipe: Mapping[str, Any], task: str) -> dict[str, Any]:
    """The values of a recipe, with what it does not say for a task other than images; what it says stays."""
    if task not in _RECIPE:
        return dict(recipe)
    augment = recipe.get("augment", {})
    changed = _with_changes(augment, task) if isinstance(augment, Mapping) else augment
    own = {"learning_rate": _LORA_RATE[task]} if recipe.get("kind") == "lora" and task in _LORA_RATE else {}
    return {**_RECIPE[task], **own, **recipe, "augment": changed}


def _with_changes(augment: Mapping[str, Any], task: str) -> dict[str, Any]:
    stated = {"policy": _POLICY[task], **augment}
    # Whoever wants no change gets none.
    return stated if stated["policy"] == "none" or task not in _GAIN_DB else {"gain_db": _GAIN_DB[task], **stated}


def backbone_problem(task: str, backbone: Backbone) -> str:
    """What is wrong with a backbone for a task; empty where nothing is."""
    if backbone.kind in BACKBONES[task]:
        return ""
    return f"backbone is of kind {backbone.kind}, which task: {task} does not take; it takes {', '.join(BACKBONES[task])}"


def method_problem(task: str, method: Method) -> str:
    """What is wrong with a method for a task, and with how it changes training samples; empty where nothing is."""
    kinds = {method.kind, plain_method(method).kind}
    if unfit := [kind for kind in sorted(kinds) if kind not in METHODS[task]]:
        return f"method {' with '.join(unfit)} is not there for task: {task}; take {', '.join(METHODS[task])}"
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
    if task == "audio" and (augment.flips != "none" or augment.cutmix_alpha > 0):
        return "augment has flips or cutmix_alpha, which sounds do not have; remove them"
    if task != "audio" and augment.gain_db > 0:
        return f"augment.gain_db makes sounds louder or quieter, and the task is {task}; remove it"
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
    if method.by == "bn" and task == "text":
        return "adapt by: bn measures batch norms anew, and transformers of texts have none; write by: coral, dann or shot"
    if method.by == "shot" and labels_per_sample != "one":
        return "adapt by: shot is for one label a sample, as answers exclude each other in its loss; with many write by: bn, coral or dann"
    if method.by in ("dann", "shot") and processes > 1:
        return f"adapt by: {method.by} runs in one process, not in {processes}; set compute.processes: 1, or write by: bn or coral"
    return ""


def gate_problem(task: str, gates: Sequence[Gate]) -> str:
    """What is wrong with what gates ask of a task; empty where nothing is."""
    for gate in gates:
        unfit = [name for name in gate.corruptions if name not in CORRUPTIONS[task]] if isinstance(gate, RobustnessGate) else []
        if unfit:
            return f"the gate robustness asks for {', '.join(unfit)}; corruptions of task: {task} are {', '.join(CORRUPTIONS[task])}"
    return ""


def data_problem(task: str, data: DataSection) -> str:
    """What is wrong with what is said of the data; empty where nothing is."""
    return "data.slices names text, which holds the samples themselves" if task == "text" and "text" in data.slices else ""


def zero_shot_problem(task: str, labels: Sequence[str], section: ZeroShotSection) -> str:
    """What is wrong with how label names are compared with samples; empty where nothing is."""
    unknown = [label for label in section.prompts if label not in labels]
    if unknown:
        return f"zero_shot.prompts names {', '.join(unknown)}; labels are {', '.join(labels)}"
    return "zero_shot.clip is for task: image; texts are compared by the backbone itself" if task != "image" and section.clip else ""
