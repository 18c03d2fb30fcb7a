"""The page of an audit: findings with their pictures, in one file that needs no network and runs no script."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.audit.findings import KINDS, AuditFinding
from pipelines.core.modalities.audio import AudioModality, AudioPreprocess
from pipelines.core.preprocess import ImagePreprocess, decode_image
from pipelines.dataset import Sample, read_sample
from pipelines.excerpts import beginning, excerpt_of
from pipelines.text_rows import table_of

# Of each kind; the table has all of them.
MAX_SHOWN = 60
_SIDE_PX = 96
_AS_IT_IS = ImagePreprocess(color="RGB", height_px=_SIDE_PX, width_px=_SIDE_PX, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), jpeg_draft=True)


def write_page(
    findings: Sequence[AuditFinding],
    samples: Mapping[str, Sample],
    data: Path,
    project: str,
    summary: Mapping[str, Any],
    target: Path,
    task: str = "image",
) -> None:
    """Renders `pipelines/templates/audit.html.j2`; every text in it is escaped.

    Args:
        findings: Of the audit, in its order.
        samples: By path.
        data: The folder that sample paths are relative to.
        project: Its name.
        summary: Content of audit.json.
        target: The page.
        task: What samples are.
    """
    import jinja2

    shown = {kind: [finding for finding in findings if finding.kind == kind][:MAX_SHOWN] for kind in KINDS}
    paths = {path for rows in shown.values() for finding in rows for path in (finding.path, finding.other_path) if path}
    texts = {path for path in paths if table_of(path, samples[path].id)}
    picture_of = spectrogram if task == "audio" else thumbnail
    pictures = {path: picture_of(read_sample(data, samples[path])) for path in sorted(paths - texts)}
    excerpts = {path: beginning(read_sample(data, samples[path]).decode("utf-8", "replace")) for path in sorted(texts)}
    templates = jinja2.FileSystemLoader(Path(__file__).parent.parent / "templates")
    environment = jinja2.Environment(
        loader=templates, undefined=jinja2.StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    content = {"summary": summary, "shown": shown, "pictures": pictures, "excerpts": excerpts}
    page = environment.get_template("audit.html.j2").render(project=project, **content)
    target.write_text(page, encoding="utf-8")


def spectrogram(content: bytes) -> str:
    """A sound as a data URI; empty where it does not decode."""
    shown = excerpt_of(content, AudioModality(AudioPreprocess()))
    return shown.picture if shown else ""


def thumbnail(content: bytes) -> str:
    """A picture as a data URI, at most 96 px wide and high; small ones are enlarged by whole factors, so that their pixels stay sharp."""
    from PIL import Image

    image = decode_image(content, _AS_IT_IS)
    if factor := _SIDE_PX // max(image.size):
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    else:
        image.thumbnail((_SIDE_PX, _SIDE_PX))
    # A new image: what the camera wrote into the file is nobody's business here.
    clean = Image.new("RGB", image.size)
    clean.paste(image)
    file = io.BytesIO()
    clean.save(file, "PNG") if factor else clean.save(file, "JPEG", quality=80)
    return f"data:image/{'png' if factor else 'jpeg'};base64,{base64.b64encode(file.getvalue()).decode()}"
