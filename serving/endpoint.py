"""What the endpoint does, apart from HTTP: predict, take feedback, say which model answers."""

from __future__ import annotations

import threading
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipelines.core.errors import DataError
from pipelines.core.label_sets import canonical_text, members_of
from serving.body_reader import BodyReader
from serving.bounded_pool import BoundedPool
from serving.failures import RequestFailure, unprocessable
from serving.input_checks import refuse_too_much, unusable_inputs
from serving.input_forms import INPUT_FORMS, InputForm
from serving.metrics import counters
from serving.model_slot import LoadedModel, ModelSlot
from serving.predict_request import parse_predict_request
from serving.request_journal import RequestJournal
from serving.schemas import Feedback, FeedbackAnswer, FeedbackList, ModelAnswer, PredictAnswer, Prediction, Refusal
from serving.settings import EndpointSettings
from serving.source_digest import own_root, source_digest
from serving.strict_json import fit, load_strict

if TYPE_CHECKING:
    from pipelines.core.bundle import BundleManifest
    from pipelines.core.predict import Predictions, Predictor

_MAX_NAMED_LABELS = 20
T = TypeVar("T")


class Endpoint:
    """One endpoint in one process.

    Args:
        settings: Limits and places.
        packaged: The bundle that is served where the settings name no pointer.
    """

    def __init__(self, settings: EndpointSettings, packaged: Path) -> None:
        self.settings = settings
        self.slot = ModelSlot()
        self.pool = BoundedPool(settings.threads, settings.max_waiting, lambda: _share_cores(settings.threads))
        self.body_reader = BodyReader(settings.max_request_bytes, int(settings.max_buffered_mb * 1_000_000))
        self._journal = RequestJournal(settings.log_dir, settings.raw_dir, settings.sample_raw_frac)
        self._packaged = packaged
        self._counters = counters()
        self._code_digest = source_digest(own_root())

    def start(self) -> None:
        """Begins to load the model; returns at once."""
        self.slot.start(self.settings.pointer, self._packaged, self.settings.poll_seconds)

    def stop(self) -> None:
        """Finishes what is under way."""
        self.slot.stop()
        self.pool.close()

    def model(self) -> LoadedModel:
        """The model in use.

        Raises:
            RequestFailure: 503 while none is loaded.
        """
        current = self.slot.current
        if current is None:
            refused = self.slot.refused
            reason = f": {refused.reason}" if refused else ", as it is still being loaded and verified."
            raise RequestFailure(
                503, "not_ready", f"no model is serving{reason}", "wait until GET /readyz answers 200, or see GET /model.", 2
            )
        return current

    def served_form(self) -> InputForm | None:
        """How clients send what the model in use takes; None while none is loaded."""
        return form_of(self.slot.current.predictor) if self.slot.current else None

    def predict(self, body: bytes, content_type: str, request_id: str, abandoned: threading.Event) -> PredictAnswer:
        """Answers POST /predict; runs in the pool.

        Raises:
            RequestFailure: The request cannot be answered; says why.
        """
        # Taken once: the request finishes on this model whatever is promoted meanwhile.
        predictor = self.model().predictor
        form = form_of(predictor)
        request = parse_predict_request(body, content_type, form, self.settings.max_inputs_per_request)
        refuse_too_much(request.inputs, predictor.modality, form, form.most(self.settings))
        try:
            answers = predictor.predict(request.inputs)
        except DataError as error:
            raise unusable_inputs(request.inputs, predictor.modality, form) from error
        ids = [uuid.uuid4().hex for _ in request.inputs]
        if not abandoned.is_set():  # nobody learns the ids of an abandoned request
            self._note_logged(self._journal.log_predictions(ids, answers, request.domain, request.inputs))
            self._counters.predictions.labels(bundle=answers.bundle).inc(len(ids))
        return PredictAnswer(request_id=request_id, bundle=answers.bundle, predictions=_as_predictions(ids, answers, predictor))

    def take_feedback(self, body: bytes, request_id: str, _: threading.Event) -> FeedbackAnswer:
        """Answers POST /feedback, all or nothing; runs in the pool.

        Raises:
            RequestFailure: The request cannot be taken; says why.
        """
        items = _one_or_many(body)
        predictor = self.model().predictor
        items = _with_known_labels(items, predictor)
        if not self._journal.enabled or not self._note_logged(self._journal.log_feedback(items)):
            raise RequestFailure(
                503,
                "not_logged",
                "the feedback could not be logged.",
                "set REGRAFT_LOG_DIR or free its disk, then send it again.",
                5,
            )
        self._counters.feedback.inc(len(items))
        return FeedbackAnswer(request_id=request_id, bundle=predictor.bundle, n_accepted=len(items))

    def describe(self) -> ModelAnswer:
        """Answers GET /model."""
        current, refused = self.slot.current, self.slot.refused
        manifest = current.predictor.manifest if current else None
        return ModelAnswer(
            bundle=current.predictor.bundle if current else None,
            project=manifest.project if manifest else None,
            labels=list(manifest.labels) if manifest else None,
            labels_per_sample=manifest.labels_per_sample if manifest else None,
            thresholds=dict(zip(manifest.labels, manifest.thresholds, strict=True)) if manifest and manifest.thresholds else None,
            takes=form.key if (form := self.served_form()) else None,
            backbone=manifest.backbone.name if manifest else None,
            loaded_at=current.loaded_at if current else None,
            code_digest=self._code_digest,
            request_log=self._journal.enabled,
            n_log_failures=self._journal.n_failures,
            refused=Refusal(**asdict(refused)) if refused else None,
        )

    def _note_logged(self, logged: bool) -> bool:
        if self._journal.enabled and not logged:
            self._counters.log_failures.inc()
        return logged


def form_of(predictor: Predictor) -> InputForm:
    """How clients send what a model takes."""
    return INPUT_FORMS[predictor.modality.kind]


def _as_predictions(ids: list[str], answers: Predictions, predictor: Predictor) -> list[Prediction]:
    unread, labels = _unread_fracs(answers, predictor), predictor.manifest.labels
    rows = zip(ids, answers.labels, answers.confidences.tolist(), answers.probabilities.tolist(), unread, strict=True)
    return [
        Prediction(
            id=identity,
            label=label,
            labels=None if answers.thresholds is None else members_of(label),
            probability=confidence,
            probabilities=dict(zip(labels, row, strict=True)),
            unread_frac=unread_frac or None,
        )
        for identity, label, confidence, row, unread_frac in rows
    ]


def _unread_fracs(answers: Predictions, predictor: Predictor) -> list[float]:
    """Of each input the share that the model did not see; zeros where the modality cuts nothing off."""
    found = predictor.unread_fracs(answers)
    return [0.0] * len(answers.labels) if found is None else [float(frac) for frac in found]


def _with_known_labels(items: list[Feedback], predictor: Predictor) -> list[Feedback]:
    """The pieces of feedback with their labels as the log has them: one label, or the one text of a set.

    Raises:
        RequestFailure: 422 where a label is not one of the bundle's.
    """
    manifest = predictor.manifest
    labels = [_known_label(item.label, manifest) for item in items]
    wrong = [str(index) for index, label in enumerate(labels) if label is None]
    if wrong:
        shown = ", ".join(manifest.labels[:_MAX_NAMED_LABELS]) + (", …" if len(manifest.labels) > _MAX_NAMED_LABELS else "")
        what = "send one of the labels, as text," if manifest.labels_per_sample == "one" else "send labels, each once,"
        raise unprocessable(
            "unknown_label",
            f"{len(wrong)} entries that are no {'label' if manifest.labels_per_sample == 'one' else 'set of labels'} of bundle"
            f" {predictor.bundle}, at {', '.join(wrong[:_MAX_NAMED_LABELS])};"
            f" its labels: {shown}.",
            f"{what} that GET /model lists; nothing of this request was taken.",
        )
    return [item.model_copy(update={"label": label}) for item, label in zip(items, labels, strict=True)]


def _known_label(label: str | list[str], manifest: BundleManifest) -> str | None:
    if manifest.labels_per_sample == "many":
        return canonical_text(label, manifest.labels)
    return label if isinstance(label, str) and label in manifest.labels else None


def _one_or_many(body: bytes) -> list[Feedback]:
    value = load_strict(body)
    # The form is told by its key, so that a wrong list is reported as a list.
    is_list = isinstance(value, dict) and "feedback" in value
    return fit(value, FeedbackList).feedback if is_list else [fit(value, Feedback)]


def _share_cores(n_threads: int) -> None:
    import os

    import torch

    # Each request's matrix products use several threads already; together they would ask for more cores than there are.
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // n_threads))
