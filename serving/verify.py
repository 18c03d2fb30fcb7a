"""Asks a running endpoint for a bundle's goldens over HTTP: what clients get is what was judged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipelines.core.bundle import BundleManifest, Golden, read_manifest
from pipelines.core.errors import RefusedError
from pipelines.core.predict import read_goldens
from pipelines.core.request_log import CHECK_DOMAIN
from serving.client import EndpointClient
from serving.schemas import PredictAnswer


@dataclass(frozen=True)
class EndpointCheck:
    """An endpoint that answered a bundle's goldens as it must.

    Attributes:
        n: Goldens that were sent.
        worst_difference: Largest difference of a probability.
        bundle: Id of the bundle.
    """

    n: int
    worst_difference: float
    bundle: str


def verify_endpoint(url: str, bundle: Path, timeout_seconds: float = 60) -> EndpointCheck:
    """Sends each golden's raw bytes as a request of its own and compares the answers with what the bundle promises.

    The requests are logged under `CHECK_DOMAIN`, which readers of the request log leave out.

    Args:
        url: Of the endpoint.
        bundle: Directory of the bundle that the endpoint should serve.
        timeout_seconds: For each request.

    Raises:
        RefusedError: Another bundle answers, or a label or probability differs by more than the manifest's tolerance.
        EndpointError: The endpoint answered with a failure.
        ConfigurationError: No endpoint can be reached.
    """
    manifest, identity = read_manifest(bundle)
    goldens, kind = read_goldens(bundle), manifest.preprocess.kind
    with EndpointClient(url, timeout_seconds) as client:
        differences = [_check(golden, client.predict([data], CHECK_DOMAIN, kind), manifest, identity) for golden, data in goldens]
    return EndpointCheck(n=len(goldens), worst_difference=max(differences), bundle=identity)


def _check(golden: Golden, answer: PredictAnswer, manifest: BundleManifest, identity: str) -> float:
    if answer.bundle != identity:
        raise _refused(f"an answer of bundle {answer.bundle}.", f"answers of bundle {identity}.")
    prediction = answer.predictions[0]
    if tuple(prediction.probabilities) != manifest.labels:
        raise _refused(f"the labels {', '.join(prediction.probabilities)}.", f"the bundle's labels {', '.join(manifest.labels)}.")
    difference = max(
        abs(prediction.probabilities[label] - expected) for label, expected in zip(manifest.labels, golden.probabilities, strict=True)
    )
    if prediction.label != golden.label or not difference <= manifest.golden_tolerance:
        raise _refused(
            f"the answer {prediction.label!r} for golden {golden.file}, with a probability that differs by {difference:.2g}.",
            f"{golden.label!r}, and probabilities within {manifest.golden_tolerance:g}.",
        )
    return difference


def _refused(got: str, allowed: str) -> RefusedError:
    return RefusedError(
        got=f"an endpoint that gives {got}",
        allowed=allowed,
        next_step="see GET /model for the bundle it serves and refuses; restart it or promote again before sending it traffic.",
    )
