"""Lets a workspace's text backbone read unlabelled texts of its domain, and writes it as a folder that the conf file can name."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from pydantic import JsonValue

from pipelines.config import ProjectConfig, TransformersBackbone
from pipelines.continued_backbone import backbone_lines, refuse_existing
from pipelines.core.bundle import file_sha256
from pipelines.core.errors import ConfigurationError, RefusedError
from pipelines.core.modalities.text import TOKENIZER_FILE, load_tokenizer
from pipelines.core.text_backbone import TransformersSpec
from pipelines.masked_language.masking import masking_of
from pipelines.masked_language.model import load_language_model, write_model
from pipelines.masked_language.texts import ChosenTexts, choose_texts, pieces_of
from pipelines.masked_language.training import Outcome, PretrainingSettings, Reading, read_on
from pipelines.progress import Progress, silent
from pipelines.staging import staged_folder
from pipelines.text_column import read_text_column
from pipelines.transformer_files import WEIGHTS, TransformerFiles, described, load_transformer


@dataclass(frozen=True)
class Continued:
    """A backbone that has read on.

    Attributes:
        entry: Of the conf file; its folder is the one that was written.
        outcome: Losses on held-out texts.
        texts: What became of the rows that were given.
    """

    entry: TransformersBackbone
    outcome: Outcome
    texts: ChosenTexts

    def conf_lines(self, workspace: Path) -> str:
        """What the conf file is to say of the backbone.

        Args:
            workspace: What a folder inside of it is named relative to.
        """
        return backbone_lines(self.entry, workspace)

    def as_json(self) -> dict[str, JsonValue]:
        """For machines."""
        counts: dict[str, JsonValue] = dict(self.texts.counts.as_json())
        return {"backbone": self.entry.model_dump(mode="json", exclude_none=True), "texts": counts, **self.outcome.as_json()}

    def as_lines(self) -> list[str]:
        """For people: what came of it."""
        before, after, cut = self.outcome.before, self.outcome.after, self.outcome.cut_at
        lines = [
            f"Loss on {after.n_tokens} hidden tokens of {self.texts.counts.n_held_out} held-out texts: "
            f"{before.loss:.4f} before, {after.loss:.4f} after.",
            f"Guessed right: {100 * before.accuracy:.1f} % before, {100 * after.accuracy:.1f} % after.",
        ]
        return [*lines, f"The deadline ended it in round {cut[0]}; the best round before it is kept."] if cut else lines


def continue_pretraining(
    config: ProjectConfig,
    texts: Path,
    test_digests: Collection[str],
    settings: PretrainingSettings,
    checkpoints: Path,
    out: Path,
    progress: Progress = silent,
    tell: Callable[[str], None] = lambda _: None,
) -> Continued:
    """Trains the conf file's backbone on masked language modelling and writes it in one step.

    Args:
        config: Of the project.
        texts: As for `read_text_column`; labels in it are not looked at.
        test_digests: `text_digest` of the texts of the splits test and holdout.
        settings: How.
        checkpoints: A folder of this command's own, which a kill leaves behind and the next call goes on from.
        out: The new folder.
        progress: Told of every step.
        tell: Told what became of the texts, and of a new head.

    Raises:
        ConfigurationError: The backbone is no encoder of transformers, `out` is there already, or time ran out before a round.
        DataError: The file holds no texts, or too few.
        IntegrityError: A file of the backbone is another one than stated.
        RefusedError: The loss on held-out texts did not fall; nothing is written.
    """
    backbone = _transformer_of(config)
    refuse_existing(out)
    files, spec, preprocess = described(backbone)
    chosen = choose_texts(read_text_column(texts), test_digests, settings.seed)
    tell(f"{chosen.counts}.")
    tokenizer, _ = load_tokenizer(files.tokenizer, files.tokenizer_sha256)
    model = load_language_model(files, spec, settings.seed)
    if model.has_new_head:
        tell(
            "The model's files have no head for masked language modelling: a new one is drawn, and learns alone at first."
            " It goes on learning, so a part of the gain is the head's: compare classifiers."
        )
    masking = masking_of(tokenizer, model.network.model.get_input_embeddings().num_embeddings)
    pieces = [pieces_of(part, tokenizer, preprocess.max_tokens) for part in (chosen.train, chosen.held_out)]
    try:
        outcome = read_on(model, Reading(pieces[0], pieces[1], masking), settings, config, checkpoints, progress)
    except RefusedError:
        shutil.rmtree(checkpoints, ignore_errors=True)  # nothing would come of going on
        raise
    record = _record(files, spec, settings, chosen, outcome) | {"head": "new" if model.has_new_head else "of the files"}
    with staged_folder(out) as folder:
        write_model(model.network, files, record, folder)
        entry = _entry(backbone, files, folder)
        load_transformer(*described(entry)[:2])  # what cannot be loaded is not left behind
    shutil.rmtree(checkpoints, ignore_errors=True)
    return Continued(entry.model_copy(update={"folder": out}), outcome, chosen)


def _transformer_of(config: ProjectConfig) -> TransformersBackbone:
    if isinstance(config.backbone, TransformersBackbone):
        return config.backbone
    raise ConfigurationError(
        got=f"--texts for a conf file whose backbone is of kind {config.backbone.kind}.",
        allowed="task: text with a backbone of kind transformers: only these read texts; those of kind shipped and timm look at --images.",
        next_step="name another workspace with --workspace, or another conf file with --conf.",
    )


def _entry(backbone: TransformersBackbone, files: TransformerFiles, folder: Path) -> TransformersBackbone:
    licence = None if files.licence == "unknown" else files.licence
    return TransformersBackbone(
        kind="transformers",
        folder=folder,
        sha256=file_sha256(folder / WEIGHTS),
        tokenizer_sha256=file_sha256(folder / TOKENIZER_FILE),
        pooling=backbone.pooling,
        max_tokens=backbone.max_tokens,
        licence=licence,
    )


def _record(
    files: TransformerFiles, spec: TransformersSpec, settings: PretrainingSettings, chosen: ChosenTexts, outcome: Outcome
) -> dict[str, JsonValue]:
    texts: dict[str, JsonValue] = dict(chosen.counts.as_json())
    return {
        "from": {"origin": spec.origin, "weights_sha256": files.weights_sha256, "licence": files.licence, "model_type": spec.name},
        "objective": "masked language modelling: 15 % of the tokens, 80/10/10",
        # How long it may take is no part of what was asked for.
        "settings": settings.model_dump(mode="json", exclude={"minutes"}),
        "texts": texts,
        **outcome.as_json(),
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
    }
