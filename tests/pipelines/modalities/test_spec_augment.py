from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config import AugmentSection
from pipelines.core.log_mel import LogMelSpec
from pipelines.core.modalities.audio import AudioModality, AudioPreprocess
from pipelines.core.sound_files import Sound
from pipelines.modalities.spec_augment import change_spectrograms, louder

SPEC = AudioPreprocess()
MASKS = AugmentSection(policy="spec_augment", magnitude=1.0, n_operations=2)
SECTION = MASKS.model_copy(update={"gain_db": 6.0})


def batch(n: int = 3, patches: int = 2) -> torch.Tensor:
    return torch.randn(n, patches, 1, 30, 24, generator=torch.Generator().manual_seed(0))


@given(seed=st.integers(0, 2**31), magnitude=st.floats(0, 1), n=st.integers(1, 4))
def test_what_changes_is_whole_bands_of_bounded_width_at_the_mean(seed: int, magnitude: float, n: int) -> None:
    section = MASKS.model_copy(update={"magnitude": magnitude, "n_operations": n})
    plain = batch(1, 1)
    masked = change_spectrograms(plain, section, SPEC, [seed])
    changed = (masked != plain)[0, 0, 0].numpy()
    frames, bands = changed.all(axis=1), changed.all(axis=0)
    assert np.array_equal(changed, frames[:, None] | bands[None, :])
    assert frames.sum() <= n * int(30 * magnitude / 3)
    assert bands.sum() <= n * int(24 * magnitude / 3)
    np.testing.assert_allclose(masked[0, 0, 0].numpy()[changed], plain.mean(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "spec",
    [SPEC, AudioPreprocess(log_mel=LogMelSpec(power=2, offset=1e-4, mel_scale="slaney"), mean=-4.0, std=2.5)],
    ids=["magnitudes", "energies"],
)
@pytest.mark.parametrize("decibels", [-12.0, 7.5])
def test_a_gain_gives_the_spectrogram_of_the_louder_sound(spec: AudioPreprocess, decibels: float) -> None:
    modality, samples = AudioModality(spec), 0.1 * np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    plain, expected = (modality.to_array(Sound(samples * np.float32(gain), 16_000, 20_000, 0.0)) for gain in (1.0, 10 ** (decibels / 20)))
    changed = louder(torch.from_numpy(plain), decibels, spec).numpy()
    assert np.abs(expected - plain).mean() > 0.3
    np.testing.assert_allclose(changed, expected, atol=2e-4)


def test_all_patches_of_a_sound_have_one_gain_and_each_sound_its_own() -> None:
    section = AugmentSection(policy="none", gain_db=12)
    plain = torch.full((40, 2, 1, 30, 24), 3.0)
    changed = change_spectrograms(plain, section, SPEC, range(40))
    decibels = (changed - 3.0).flatten(1) * 20 / np.log(10)
    assert torch.allclose(decibels, decibels[:, :1].expand_as(decibels), atol=1e-3)
    assert decibels.abs().max() < 12.01
    assert len(decibels[:, 0].unique()) == 40
    assert decibels[:, 0].min() < -6
    assert decibels[:, 0].max() > 6


def test_digital_silence_stays_silence_at_any_gain() -> None:
    modality = AudioModality(SPEC)
    silence = torch.from_numpy(modality.to_array(Sound(np.zeros(16_000, np.float32), 16_000, 16_000, 0.0)))
    assert torch.allclose(louder(silence, 40.0, SPEC), silence, atol=0.02)


def test_a_sound_changes_the_same_whoever_is_beside_it() -> None:
    plain = batch()
    together = change_spectrograms(plain, SECTION, SPEC, [1, 2, 3])
    alone = [change_spectrograms(plain[place : place + 1], SECTION, SPEC, [seed]) for place, seed in enumerate([1, 2, 3])]
    assert torch.equal(together, torch.cat(alone))
    assert not torch.equal(together, plain)
    assert torch.equal(plain, batch())


def test_patches_that_are_none_stay_none() -> None:
    plain = batch()
    plain[1, 1] = torch.nan
    masked = change_spectrograms(plain, SECTION, SPEC, [1, 2, 3])
    assert torch.isnan(masked[1, 1]).all()
    assert not torch.isnan(masked[1, 0]).any()


def test_another_policy_changes_nothing() -> None:
    plain = batch()
    assert change_spectrograms(plain, AugmentSection(policy="none"), SPEC, [1, 2, 3]) is plain
