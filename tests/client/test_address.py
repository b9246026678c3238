"""Where a coordinator is looked for."""

from pathlib import Path

import pytest

from cf_orch.client.address import Address, find_addresses
from cf_orch.client.local import runtime_folder


def test_argument_before_environment() -> None:
    """The argument wins over CF_ORCH_URL, and a comma list is tried in its order."""
    found = find_addresses("http://a:1, unix:///s", {"CF_ORCH_URL": "http://b:2"})

    assert found == (
        Address("http://a:1", "http://a:1/api/v1/connect"),
        Address("unix:///s", "http://localhost/api/v1/connect", "/s"),
    )


def test_environment() -> None:
    """Without an argument CF_ORCH_URL holds; a path in it stays in front of the API's."""
    (found,) = find_addresses(None, {"CF_ORCH_URL": "https://b/gpu/"})

    assert found.connect_url == "https://b/gpu/api/v1/connect"


@pytest.mark.skipif(Path("/run/cf-orch/sock").exists(), reason="a coordinator runs here")
def test_default() -> None:
    """With nothing said and no unix socket there it is port 7700 of this host."""
    assert [found.url for found in find_addresses(None, {})] == ["http://127.0.0.1:7700"]


@pytest.mark.parametrize("url", ["127.0.0.1:7700", "ftp://x", "unix:relative", "http://"])
def test_no_address(url: str) -> None:
    """What is no address is refused at once, with an example."""
    with pytest.raises(ValueError, match=r"write http://HOST:7700 or unix:///run/cf-orch/sock"):
        find_addresses(url)


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"CF_ORCH_RUNTIME_DIR": "/a", "XDG_RUNTIME_DIR": "/b"}, "/a"),
        ({"XDG_RUNTIME_DIR": "/b"}, "/b/cf-orch"),
    ],
)
def test_runtime_folder(environ: dict[str, str], folder: str, tmp_path: Path) -> None:
    """The folder for turns is the one that is named, else the user's."""
    assert runtime_folder(environ, system=tmp_path / "absent" / "cf-orch") == Path(folder)


def test_runtime_folder_of_the_system(tmp_path: Path) -> None:
    """Where there is one that all may use, as in containers, it comes before the user's own."""
    assert runtime_folder({"XDG_RUNTIME_DIR": "/b"}, system=tmp_path) == tmp_path
    assert runtime_folder({}, system=tmp_path / "new") == tmp_path / "new"
