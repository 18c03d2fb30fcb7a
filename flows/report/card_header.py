"""The model card's metadata, as the Hugging Face Hub reads them: https://huggingface.co/docs/hub/model-cards.

Built and checked by huggingface_hub's own classes; nothing is sent anywhere (`ModelCard.validate` would ask the Hub, so it is not called).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flows.records import Accuracy
from pipelines.config import ProjectConfig
from pipelines.core.bundle import BundleManifest

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

# Of the Hub, by modality: https://huggingface.co/tasks
_TASKS = {
    "image": ("image-classification", "Image classification"),
    "text": ("text-classification", "Text classification"),
    "audio": ("audio-classification", "Audio classification"),
}
# Of those that the Hub knows by a name of its own (https://huggingface.co/docs/hub/repositories-licenses) the ones that models have; the
# names are those of SPDX in small letters.
_HUB_LICENCES = frozenset(
    {
        *("apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "isc", "unlicense", "wtfpl", "zlib", "bsl-1.0", "mpl-2.0", "epl-2.0"),
        *("gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "agpl-3.0", "eupl-1.1", "eupl-1.2", "afl-3.0", "artistic-2.0"),
        *("cc", "cc0-1.0", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0"),
        *("cc-by-nc-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0"),
        *("openrail", "openrail++", "bigscience-openrail-m", "creativeml-openrail-m", "odbl", "odc-by", "pddl", "postgresql", "ms-pl"),
    }
)
_HUB_REPOSITORY = re.compile(r"([\w.-]+/[\w.-]+)@[0-9a-f]{40}")


def with_header(body: str, config: ProjectConfig, manifest: BundleManifest, evaluation: dict[str, Any], dataset: str) -> str:
    """The whole card, once more read by huggingface_hub.

    Args:
        body: In Markdown.
        config: Of the project.
        manifest: Of the sealed bundle.
        evaluation: `evaluation.json`.
        dataset: Digest of the dataset version.

    Raises:
        ValueError: huggingface_hub does not take the metadata.
    """
    from huggingface_hub import ModelCard

    data = card_data(config, manifest, evaluation, dataset)
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}"))


def card_data(config: ProjectConfig, manifest: BundleManifest, evaluation: dict[str, Any], dataset: str) -> ModelCardData:
    """Licence, base model, tags and metrics; what nobody has stated is left out, but for the licence, which is then `unknown`."""
    from huggingface_hub import ModelCardData

    on_hub = _HUB_REPOSITORY.fullmatch(manifest.backbone.origin)
    return ModelCardData(
        **_licence(config.card.licence),
        base_model=on_hub.group(1) if on_hub else None,
        datasets=[config.project],
        library_name=manifest.backbone.kind,
        metrics=sorted({result.metric_type for result in _results(config, evaluation, dataset)}),
        model_name=config.project,
        eval_results=_results(config, evaluation, dataset),
        pipeline_tag=_TASKS[config.task][0],
        tags=["regraft", "transfer-learning", _TASKS[config.task][0], config.project, manifest.backbone.name],
    )


def _licence(stated: str | None) -> dict[str, Any]:
    if stated is None:
        return {"license": "unknown"}
    known = stated.lower()
    return {"license": known} if known in _HUB_LICENCES else {"license": "other", "license_name": known.replace(" ", "-")}


def _results(config: ProjectConfig, evaluation: dict[str, Any], dataset: str) -> list[EvalResult]:
    """Accuracy of all and by domain with their intervals; calibration, log loss and, with many labels a sample, F1 of all."""
    n = int(evaluation["accuracy"]["n"])
    found = [_result(config, dataset, None, "accuracy", evaluation["accuracy"]["value"], _interval(evaluation["accuracy"]))]
    for name in ("expected_calibration_error", "log_loss", "macro_f1"):
        if evaluation.get(name) is not None:
            found.append(_result(config, dataset, None, name, evaluation[name], {"n": n}))
    by_domain: Sequence[tuple[str, dict[str, Any]]] = sorted(evaluation["accuracy_by_domain"].items())
    if len(by_domain) > 1:
        found += [_result(config, dataset, domain, "accuracy", value["value"], _interval(value)) for domain, value in by_domain]
    return found


def _interval(value: dict[str, Any]) -> dict[str, Any]:
    accuracy = Accuracy.model_validate(value)
    return {"n": accuracy.n, "low": round(accuracy.low, 4), "high": round(accuracy.high, 4), "interval": "Clopper-Pearson, 95 %"}


def _result(config: ProjectConfig, dataset: str, domain: str | None, metric: str, value: float, args: dict[str, Any]) -> EvalResult:
    from huggingface_hub import EvalResult

    return EvalResult(
        task_type=_TASKS[config.task][0],
        task_name=_TASKS[config.task][1],
        dataset_type=config.project,
        dataset_name=f"{config.project}, test split",
        dataset_config=domain,
        dataset_split="test",
        dataset_revision=dataset,
        metric_type=metric,
        metric_name=metric.replace("_", " "),
        metric_value=round(float(value), 4),
        metric_args=args,
    )
