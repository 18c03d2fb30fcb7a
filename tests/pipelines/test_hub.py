"""Files of a repository: fetched from a Hub on this machine, and what is said where it, or the connection to it, fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipelines.core.errors import ConfigurationError
from pipelines.hub import hub_files

REVISION = "1" * 40
NAMES = ("config.json", "model.safetensors")


class _Hub(BaseHTTPRequestHandler):
    """Of the repository a/good every file holds its own name; the others fail, each in the way that its name says."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self.wfile.write(self._answer())

    def _answer(self) -> bytes:
        _, _, repository, _, revision, name = self.path.split("/")
        if repository == "garbled":
            self.wfile.write(b"no answer of HTTP\r\n\r\n")
            self.close_connection = True
            return b""
        status = {"good": 200, "missing": 404, "broken": 500, "circling": 302}[repository]
        self.send_response(status)
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound")
        content = name.encode()
        if status == 200:
            self.send_header("X-Repo-Commit", revision)
            self.send_header("ETag", f'"{name}"')
            self.send_header("Content-Length", str(len(content)))
        if status == 302:
            self.send_header("Location", self.path)
        self.end_headers()
        return content

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Hub on this machine. The library reads its environment once per process."""
    from huggingface_hub.utils import close_session

    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    # The library waits 23 s in all before it gives up what it found broken, or nobody at home.
    monkeypatch.setattr("time.sleep", lambda _: None)
    point_to(f"http://127.0.0.1:{server.server_port}", monkeypatch)
    yield
    close_session()
    server.shutdown()
    thread.join()
    server.server_close()


def point_to(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")


def fetch(repository: str) -> list[Path]:
    return hub_files("backbone", repository, REVISION, NAMES, "folder")


@pytest.mark.usefixtures("hub")
def test_files_come_in_the_order_of_their_names_and_lie_in_the_cache_then(monkeypatch: pytest.MonkeyPatch) -> None:
    files = fetch("a/good")
    assert [(file.name, file.read_text()) for file in files] == [(name, name) for name in NAMES]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert fetch("a/good") == files


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("repository", "kind"),
    [
        ("a/missing", "RemoteEntryNotFoundError"),
        ("a/broken", "LocalEntryNotFoundError"),
        ("a/garbled", "RemoteProtocolError"),
        ("a/circling", "TooManyRedirects"),
    ],
)
def test_a_hub_that_does_not_give_the_files(repository: str, kind: str) -> None:
    with pytest.raises(
        ConfigurationError,
        match=rf"backbone\.hub {repository}@1{{40}}, which could not be fetched: {kind}\. "
        r"Allowed: a repository with config\.json, model\.safetensors that .* give them as backbone\.folder\.",
    ):
        fetch(repository)


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("address", "kind"),
    [("http://127.0.0.1:9", "LocalEntryNotFoundError"), ("ftp://127.0.0.1", "UnsupportedProtocol"), ("http://a:b", "InvalidURL")],
)
def test_an_address_at_which_there_is_no_hub(monkeypatch: pytest.MonkeyPatch, address: str, kind: str) -> None:
    point_to(address, monkeypatch)
    with pytest.raises(ConfigurationError, match=f"which could not be fetched: {kind}"):
        fetch("a/good")


@pytest.mark.usefixtures("hub")
def test_no_cache_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ConfigurationError, match=r"which could not be fetched: (FileExistsError|NotADirectoryError)"):
        fetch("a/good")


@pytest.mark.parametrize("repository", ["", "a/b/c", "a b", "a/b.git", "a--b", "x" * 97])
def test_what_can_name_no_repository(repository: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"zero_shot\.clip\.hub '{repository}', which names no repository: .* owner/name"):
        hub_files("zero_shot.clip", repository, REVISION, NAMES, "folder")
