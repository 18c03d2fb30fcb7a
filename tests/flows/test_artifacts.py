from __future__ import annotations

import base64
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from uuid import UUID

import pytest

from flows.artifacts import publish_links, publish_markdown, publish_picture, publish_table
from pipelines.core.errors import RegraftError
from tests.flows.conftest import CHECKOUT, Stack

CALLS = [
    lambda key: publish_markdown(key, "# text"),
    lambda key: publish_table(key, [{"gate": "goldens"}]),
    lambda key: publish_links(key, {"report": Path("report.html")}),
    lambda key: publish_picture(key, b"png"),
]


def png(width_px: int, height_px: int) -> bytes:
    """A grey picture."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = (b"\x00" + b"\x80" * width_px) * height_px
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("publish", CALLS)
def test_outside_a_run_nothing_happens(publish: object) -> None:
    assert callable(publish)
    assert publish("gate-table") is None


@pytest.mark.parametrize("publish", CALLS)
@pytest.mark.parametrize("key", ["Gates", "gate_table", "gate table", "-gates", "gates-", "gate--table", "", "gätes"])
def test_a_key_that_prefect_would_refuse_is_refused_everywhere(publish: object, key: str) -> None:
    assert callable(publish)
    with pytest.raises(RegraftError, match=r"the artifact key .*lowercase letters, digits and single dashes"):
        publish(key)


def test_outside_a_run_prefect_is_not_imported() -> None:
    code = "import sys; from flows.artifacts import publish_markdown; publish_markdown('a', 'b'); print('prefect' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


@pytest.mark.slow
def test_a_runs_page_shows_what_was_published(stack: Stack, tmp_path: Path) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterId

    from flows.heartbeat import without_heartbeat
    from tests.flows.fixtures.small_flows import show_flow

    picture, report = png(8, 4), tmp_path / "a report.html"
    with without_heartbeat():
        ids = show_flow(picture, report)
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(id=ArtifactFilterId(any_=[UUID(item) for item in ids.values()])))
    by_key = {item.key: item for item in found}
    assert by_key["gates"].data == '[{"gate": "goldens", "passed": true, "p": 0.01235, "note": ""}]'
    assert by_key["model-card"].data.startswith("# Card")
    assert by_key["reports"].data == f"- [drift]({report.as_uri()}): `{report}`\n- [docs](http://127.0.0.1/)"
    assert by_key["curve"].data == f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    assert {item.flow_run_id for item in found} != {None}
    assert len({item.flow_run_id for item in found}) == 1
