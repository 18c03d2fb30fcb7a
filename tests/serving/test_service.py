"""The service as BentoML runs it, without a server process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# In a process of its own: the service is one for each process, and Prometheus decides at import where it counts.
_PROGRAM = """
import json, sys, time
from starlette.testclient import TestClient
from serving.service import RegraftService

found = {}
with TestClient(RegraftService.to_asgi(), raise_server_exceptions=False) as client:
    def ask(method, path, **content):
        response = client.request(method, path, **content)
        return response.status_code, response.headers.get("content-type", ""), response.text

    found["first"] = ask("GET", "/readyz")[0]
    found["live"] = ask("GET", "/livez")[0]
    deadline = time.monotonic() + 60
    while ask("GET", "/readyz")[0] != 200 and time.monotonic() < deadline:
        time.sleep(0.01)
    ours = ["/readyz", "/healthz", "/model", "/openapi.json"]
    for path in [*ours, "/", "/docs", "/docs.json", "/schema.json", "/static_content/x", "/predict/a"]:
        found[path] = ask("GET", path)
    for kind in ("application/vnd.bentoml+pickle", "application/vnd.bentoml+arrow", "application/x-www-form-urlencoded"):
        found[kind] = ask("POST", "/predict", content=b"\\x80\\x04N.", headers={"content-type": kind})
    found["predict"] = ask("POST", "/predict", files=[("images", ("a.png", open(sys.argv[1], "rb").read()))])
    found["metrics"] = ask("GET", "/metrics")
print(json.dumps(found))
"""


@pytest.mark.slow
def test_bentoml_runs_our_routes_and_its_own_probes(bundle: Any, tmp_path: Path) -> None:
    from serving.pointer import write_pointer

    write_pointer(tmp_path / "pointer.json", bundle.id, bundle.path)
    golden = next((bundle.path / "goldens").iterdir())
    environment = {
        **os.environ,
        "REGRAFT_POINTER": str(tmp_path / "pointer.json"),
        "BENTOML_HOME": str(tmp_path / "home"),
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(golden)], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["first"], found["live"], found["/readyz"][0], found["/healthz"][0]) == (503, 200, 200, 200)
    assert json.loads(found["/model"][2])["bundle"] == bundle.id
    assert set(json.loads(found["/openapi.json"][2])["paths"]) == {"/predict", "/feedback", "/model"}
    for path in ("/", "/docs", "/docs.json", "/schema.json", "/static_content/x", "/predict/a"):
        assert (found[path][0], found[path][1], json.loads(found[path][2])["code"]) == (404, "application/json", "not_found")
    for kind in ("application/vnd.bentoml+pickle", "application/vnd.bentoml+arrow", "application/x-www-form-urlencoded"):
        assert (found[kind][0], json.loads(found[kind][2])["code"]) == (415, "wrong_content_type")
    assert json.loads(found["predict"][2])["bundle"] == bundle.id
    metrics = found["metrics"][2]
    assert f'regraft_predictions_total{{bundle="{bundle.id}"}} 1.0' in metrics
    assert 'regraft_failures_total{code="wrong_content_type"} 3.0' in metrics
    assert 'endpoint="/predict",http_response_code="200"' in metrics
    assert "static_content" not in metrics, "unknown paths must not become labels"
