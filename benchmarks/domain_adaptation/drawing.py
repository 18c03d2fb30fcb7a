"""One draw of source and target samples as files, and the material that methods work with."""

from __future__ import annotations

import hashlib
from pathlib import Path

from benchmarks.domain_adaptation.settings import Setting
from pipelines.backbones import select_backbone
from pipelines.dataset import Sample, Split, write_samples
from pipelines.ingest import known_content
from pipelines.progress import silent
from pipelines.training.gathering import material_for
from pipelines.training.inputs import SampleInputs
from pipelines.training.material import Material
from pipelines.unlabelled import RawInput, add_snapshot


class Drawn:
    """Samples of both domains, none of them twice.

    Attributes:
        source, ceiling: Labelled samples of the source, and of the target.
        source_test, target_test: What models are judged by.
        unlabelled: Snapshot of the target's training samples, without their labels.
    """

    def __init__(self, setting: Setting, pair: tuple[str, str], seed: int, folder: Path) -> None:
        self._setting, self._seed, self._folder, self._data = setting, seed, folder, folder / "data"
        source = self._samples(pair[0], (("train", setting.n_source), ("test", setting.n_source_test)))
        target = self._samples(pair[1], (("train", setting.n_target), ("test", setting.n_test)))
        self.source = self._material(source, "source")
        self.ceiling = self._material(target, "target")
        self.source_test, self.target_test = self._test(source), self._test(target)
        self.unlabelled = self._snapshot([sample for sample in target if sample.split == "train"])

    def _samples(self, domain: str, sizes: tuple[tuple[Split, int], tuple[Split, int]]) -> list[Sample]:
        order = self._setting.samples_of(domain, self._seed)
        found: dict[str, Sample] = {}
        for split, size in (sizes[0], ("validation", self._setting.n_validation), sizes[1]):
            new: dict[str, Sample] = {}
            while len(new) < size and (item := next(order, None)) is not None:
                digest = hashlib.sha256(item[0]).hexdigest()
                if digest not in found and digest not in new:
                    new[digest] = self._written(item, digest, domain, split)
            found |= new
        return list(found.values())

    def _written(self, item: tuple[bytes, str], digest: str, domain: str, split: Split) -> Sample:
        path = f"{domain}/{digest}"
        (self._data / domain).mkdir(parents=True, exist_ok=True)
        (self._data / path).write_bytes(item[0])
        return Sample(digest, path, item[1], digest, domain, "", split)

    def _material(self, samples: list[Sample], name: str) -> Material:
        table = self._folder / f"{name}.csv"
        write_samples(samples, table)
        config = self._setting.project(self._seed)
        choice = select_backbone(config.backbone)  # type: ignore[arg-type]
        kept = self._folder / "features", self._folder / "checkpoints" / name
        return material_for(choice, table, self._data, config, *kept, silent)

    def _test(self, samples: list[Sample]) -> SampleInputs:
        chosen = [sample for sample in samples if sample.split == "test"]
        selected = self.source.selected
        return SampleInputs(chosen, self._data, selected.preprocess, self._setting.labels, folder=selected.folder)

    def _snapshot(self, samples: list[Sample]) -> str:
        inputs = [RawInput(self._data / sample.path, sample.domain, "", sample.id) for sample in samples]
        config, staging = self.source.config, self._folder / "staging"
        known = known_content(self._data, [], config)
        return add_snapshot(self._data, inputs, known, len(inputs), staging, config.task).name
