"""What is expected of the inputs themselves, by task. All of it warns and refuses nothing: training copes, people should know.

What is said of a text never repeats the text: a report is read by more people than the data are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pipelines.config import DataSection, ProjectConfig
from pipelines.validate.check import Check
from pipelines.validate.language_shares import LEAST_TEXTS

# Outside of these a file is probably an icon, or a scan that nobody meant to train on.
SMALLEST_SIDE_PX, LARGEST_SIDE_PX = 8, 10_000
# Shorter ones are a click, longer ones a recording of which a network hears some places.
SHORTEST_SECONDS, LONGEST_SECONDS = 0.1, 60
# A file of which so much is cut off or still was recorded badly, or is empty.
MOST_CLIPPED_FRAC, MOST_SILENT_FRAC = 0.01, 0.95
# Shorter ones are no sentence, longer ones a document of which a network sees the beginning.
SHORTEST_CHARACTERS, LONGEST_CHARACTERS = 3, 20_000

_NO_LANGUAGES = f"nothing to compare: that takes {LEAST_TEXTS} texts that came later than {LEAST_TEXTS} others, in known languages"

ROWS_USABLE: Mapping[str, str] = {
    "image": "every row names a readable image of its own",
    "text": "every row holds a text that can be read",
    "audio": "every row names a readable sound of its own",
}


def input_checks(config: ProjectConfig) -> list[Check]:
    """The checks of a task's inputs."""
    return _CHECKS[config.task](config.data)


def _image_checks(_: DataSection) -> list[Check]:
    import great_expectations.expectations as gxe

    sizes = f"{SMALLEST_SIDE_PX} to {LARGEST_SIDE_PX:,} px"
    bounds = {"min_value": SMALLEST_SIDE_PX, "max_value": LARGEST_SIDE_PX}
    width = gxe.ExpectColumnValuesToBeBetween(column="width_px", severity="warning", **bounds)
    height = gxe.ExpectColumnValuesToBeBetween(column="height_px", severity="warning", **bounds)
    return [
        Check("width", "samples", f"images are {sizes} wide", width, lambda value: f"is {value:g} px wide"),
        Check("height", "samples", f"images are {sizes} high", height, lambda value: f"is {value:g} px high"),
    ]


def _text_checks(data: DataSection) -> list[Check]:
    import great_expectations.expectations as gxe

    bounds = {"min_value": SHORTEST_CHARACTERS, "max_value": LONGEST_CHARACTERS}
    length = gxe.ExpectColumnValuesToBeBetween(column="n_characters", severity="warning", **bounds)
    script, damage, personal = (
        gxe.ExpectColumnValuesToBeNull(column=column, severity="warning") for column in ("rare_script", "damage", "personal")
    )
    risen = gxe.ExpectColumnValuesToBeNull(column="rise", severity="warning")
    shares = f"no language has risen by more than {data.max_language_rise:.0%} of the texts that came last"
    sizes = f"texts have {SHORTEST_CHARACTERS} to {LONGEST_CHARACTERS:,} characters"
    return [
        Check("length", "samples", sizes, length, lambda value: f"has {value:g} characters"),
        Check("script", "samples", "texts are in a script of many", script, lambda value: f"is in the script {value}, as few others are"),
        Check("language_shares", "languages", shares, risen, nothing_to_judge=_NO_LANGUAGES),
        Check("encoding", "samples", "no text was decoded wrongly", damage),
        Check("personal_data", "samples", "no text seems to hold personal data", personal, lambda value: f"seems to hold {value}"),
    ]


def _audio_checks(_: DataSection) -> list[Check]:
    import great_expectations.expectations as gxe

    seconds = gxe.ExpectColumnValuesToBeBetween(column="seconds", min_value=SHORTEST_SECONDS, max_value=LONGEST_SECONDS, severity="warning")
    clipped = gxe.ExpectColumnValuesToBeBetween(column="clipped_frac", max_value=MOST_CLIPPED_FRAC, severity="warning")
    silent = gxe.ExpectColumnValuesToBeBetween(column="silent_frac", max_value=MOST_SILENT_FRAC, severity="warning")
    rate = gxe.ExpectColumnValuesToBeNull(column="rare_rate", severity="warning")
    most = "at most {:.0%} of a sound is {}"
    lengths = f"sounds last {SHORTEST_SECONDS:g} to {LONGEST_SECONDS} s"
    return [
        Check("seconds", "samples", lengths, seconds, lambda value: f"lasts {value:g} s"),
        Check("clipping", "samples", most.format(MOST_CLIPPED_FRAC, "clipped"), clipped, lambda value: f"is clipped to {value:.1%}"),
        Check("silence", "samples", most.format(MOST_SILENT_FRAC, "silent"), silent, lambda value: f"is silent to {value:.1%}"),
        Check("rate", "samples", "sounds have the rate of many", rate, lambda value: f"has {value} Hz, as few others have"),
    ]


_CHECKS: Mapping[str, Callable[[DataSection], list[Check]]] = {"image": _image_checks, "text": _text_checks, "audio": _audio_checks}
