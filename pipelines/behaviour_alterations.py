"""What a team's tests may do to their inputs before a bundle is asked, by task: one change each, the same way every time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from pipelines.config.section import Fraction, Positive, Section
from pipelines.core.errors import DataError
from pipelines.core.modalities.adapters import Preprocess
from pipelines.core.modalities.audio import AudioPreprocess
from pipelines.core.preprocess import ImagePreprocess
from pipelines.text_alterations import as_text, with_typos

if TYPE_CHECKING:
    from PIL import Image

# By task.
ALTERATIONS: Mapping[str, tuple[str, ...]] = {
    "image": ("flip", "rotate_degrees", "crop_frac", "blur_px", "brightness", "jpeg"),
    "text": ("replace", "prepend", "append", "case", "typo_frac"),
    "audio": ("gain_db", "noise_db", "low_pass_frac"),
}
_ALL = tuple(name for names in ALTERATIONS.values() for name in names)
_ZERO_CHANGES_NOTHING = ("rotate_degrees", "brightness", "gain_db")


class Alteration(Section):
    """One change of an input.

    Attributes:
        flip: `horizontal` changes left and right, `vertical` top and bottom.
        rotate_degrees: Counter-clockwise, at the same size.
        crop_frac: Share of each side that is kept, about the centre.
        blur_px: Standard deviation of a Gaussian blur.
        brightness: Added to the brightness, which is in [0, 1].
        jpeg: Saved as JPEG of that quality.
        replace: Of a text, whole words (or runs of words) and what stands in their place, in all places at once; case counts.
        prepend, append: What is set before a text, or behind it, as it is: write the blank too.
        case: A text in capitals or in small letters.
        typo_frac: Share of a text's letters that are mistyped.
        gain_db: A sound made louder, or softer where it is negative.
        noise_db: White noise on a sound, so many decibels below it.
        low_pass_frac: Share of a sound's frequencies that is kept, the lowest.
    """

    flip: Literal["horizontal", "vertical"] | None = None
    rotate_degrees: Annotated[float, Field(ge=-180, le=180)] | None = None
    crop_frac: Annotated[float, Field(gt=0, lt=1)] | None = None
    blur_px: Positive | None = None
    brightness: Annotated[float, Field(ge=-1, le=1)] | None = None
    jpeg: Annotated[int, Field(ge=1, le=95)] | None = None
    replace: Annotated[dict[Annotated[str, Field(min_length=1)], str], Field(min_length=1)] | None = None
    prepend: Annotated[str, Field(min_length=1)] | None = None
    append: Annotated[str, Field(min_length=1)] | None = None
    case: Literal["upper", "lower"] | None = None
    typo_frac: Annotated[Fraction, Field(gt=0)] | None = None
    gain_db: Annotated[float, Field(ge=-60, le=40)] | None = None
    noise_db: Annotated[float, Field(ge=-20, le=80)] | None = None
    low_pass_frac: Annotated[float, Field(gt=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _just_one(self) -> Alteration:
        if len(self.chosen) != 1:
            raise ValueError(f"give exactly one of {', '.join(_ALL)}")
        ((name, value),) = self.chosen
        if name in _ZERO_CHANGES_NOTHING and value == 0:
            raise ValueError(f"{name}: 0 changes nothing; give another value")
        return self

    @property
    def chosen(self) -> tuple[tuple[str, Any], ...]:
        """The one name with its value."""
        return tuple((name, getattr(self, name)) for name in _ALL if getattr(self, name) is not None)

    @property
    def in_words(self) -> str:
        """For a decision, for example `flip horizontal`."""
        ((name, value),) = self.chosen
        if isinstance(value, dict):
            return f"{name} " + ", ".join(f"{old!r} by {new!r}" for old, new in value.items())
        return f"{name} {value!r}" if name in ("prepend", "append") else f"{name} {value}"


def altered(content: bytes, alteration: Alteration, spec: Preprocess) -> bytes:
    """The altered input.

    Args:
        content: A file, or a text in UTF-8.
        alteration: Of the task that `spec` belongs to.
        spec: Of the bundle that will be asked.

    Raises:
        DataError: It does not decode, or is a text that the change leaves as it is, which would show nothing.
    """
    ((name, value),) = alteration.chosen
    if isinstance(spec, ImagePreprocess):
        return _altered_picture(content, name, value, spec)
    return _altered_sound(content, name, value) if isinstance(spec, AudioPreprocess) else altered_text(content, alteration)


def altered_text(content: bytes, alteration: Alteration) -> bytes:
    """As `altered`, of a text."""
    ((name, value),) = alteration.chosen
    text = as_text(content)
    changes: dict[str, Callable[[str, Any], str]] = {
        "replace": _replaced,
        "prepend": lambda text, before: before + text,
        "append": lambda text, behind: text + behind,
        "case": lambda text, case: text.upper() if case == "upper" else text.lower(),
        "typo_frac": lambda text, share: with_typos(text, share, _randomness(content)),
    }
    after = changes[name](text, value).encode()
    if after == content:
        raise DataError(
            got=f"a text of {len(text)} characters that {name} leaves as it is.",
            allowed="texts that the alteration changes: of others a test shows nothing.",
            next_step="correct `alter`, or leave the text out of the test.",
        )
    return after


def _altered_picture(content: bytes, name: str, value: Any, spec: ImagePreprocess) -> bytes:
    from pipelines.image_alterations import blurred, brightened, cropped, flipped, jpeg, opened, png, rotated

    image = opened(content, spec)
    if name == "jpeg":
        return jpeg(image, value)
    changes: dict[str, Callable[[Image.Image, Any], Image.Image]] = {
        "flip": flipped,
        "rotate_degrees": rotated,
        "crop_frac": cropped,
        "blur_px": blurred,
        "brightness": brightened,
    }
    return png(changes[name](image, value))


def _altered_sound(content: bytes, name: str, value: float) -> bytes:
    from pipelines.core.sound_files import read_sound
    from pipelines.sound_alterations import muffled, quieter, with_sound_noise

    sound, rng = read_sound(content), _randomness(content)
    if name == "gain_db":
        return quieter(sound, -value, rng)
    return with_sound_noise(sound, value, rng) if name == "noise_db" else muffled(sound, value, rng)


def _replaced(text: str, words: Mapping[str, str]) -> str:
    # The longest first, so that `not good` is not taken for `not`; in one pass, so that two words can change places.
    ordered = sorted(words, key=len, reverse=True)
    pattern = rf"(?<!\w)(?:{'|'.join(map(re.escape, ordered))})(?!\w)"
    return re.sub(pattern, lambda match: words[match.group()], text)


def _randomness(content: bytes) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(content).digest()[:8], "big"))
