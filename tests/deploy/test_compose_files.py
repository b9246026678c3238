"""compose.yml and compose.override.yml, as Docker Compose reads them."""

import argparse
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import require_part
from tests.deploy.conftest import DEPLOY, Merge

from cf_orch.client.address import DEFAULT_SOCKET
from cf_orch.coordinator.cli import COMMANDS
from cf_orch.coordinator.config import ConfigError, read_config

COORDINATOR, SIDECAR = DEPLOY / "compose.yml", DEPLOY / "compose.override.yml"
RUNTIME = {"type": "volume", "source": "cf-orch-run", "target": "/run/cf-orch", "volume": {}}
BOTH = ("coordinator", "cf-orch-sidecar")


@pytest.fixture(scope="module")
def merged(merge: Merge) -> dict[str, Any]:
    return merge(COORDINATOR, SIDECAR)


@pytest.fixture(scope="module")
def product(merge: Merge, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A product as README.md has it, with the file that it copies."""
    folder = tmp_path_factory.mktemp("products") / "kiwi"
    folder.mkdir()
    shutil.copy(SIDECAR, folder)
    snippet = re.search(r"```yaml\n(.*?)```", (DEPLOY / "README.md").read_text(), re.DOTALL)
    assert snippet is not None
    (folder / "compose.yml").write_text(snippet[1] + "    image: kiwi\n")
    return merge(folder / "compose.yml", folder / SIDECAR.name)


def test_the_two_files_make_one_project_of_two_services(merged: dict[str, Any]) -> None:
    assert set(merged["services"]) == set(BOTH)
    assert set(merged["volumes"]) == {"state", "cf-orch-run"}


@pytest.mark.parametrize("name", BOTH)
def test_a_service_has_no_right_that_it_does_not_need(merged: dict[str, Any], name: str) -> None:
    service = merged["services"][name]

    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert "user" not in service, "the image's user is the one whose number the volumes have"
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert [mount.partition(":")[0] for mount in service["tmpfs"]] == ["/tmp"]


@pytest.mark.parametrize("name", BOTH)
def test_a_service_sees_the_hosts_processes_and_asks_the_driver(merged: dict[str, Any], name: str) -> None:
    service = merged["services"][name]
    (cards,) = service["deploy"]["resources"]["reservations"]["devices"]

    assert service["pid"] == "host"
    assert cards == {"driver": "nvidia", "count": -1, "capabilities": ["gpu", "utility"]}


@pytest.mark.parametrize("name", BOTH)
def test_a_service_comes_back_and_is_given_time_to_end(merged: dict[str, Any], name: str) -> None:
    service = merged["services"][name]

    assert service["restart"] == "unless-stopped"
    assert service["stop_grace_period"] == "15s"


def test_each_healthcheck_asks_the_socket_that_its_service_opens(merged: dict[str, Any]) -> None:
    coordinator, sidecar = (merged["services"][name] for name in BOTH)

    assert coordinator["healthcheck"]["test"] == ["CMD", "cf-orch-healthcheck", f"unix://{DEFAULT_SOCKET}"]
    assert coordinator["command"] == ["serve", "--socket", str(DEFAULT_SOCKET)]
    assert sidecar["healthcheck"]["test"] == ["CMD", "cf-orch-healthcheck", "unix:///run/cf-orch/cf-orch.sock"]
    assert "--socket=/run/cf-orch/cf-orch.sock" in sidecar["command"]


def test_all_meet_in_one_runtime_folder_that_their_group_may_use(merged: dict[str, Any]) -> None:
    folder = merged["volumes"]["cf-orch-run"]

    assert all(RUNTIME in merged["services"][name]["volumes"] for name in BOTH)
    assert folder["name"] == "cf-orch-run", "one a host, whatever the project"
    assert folder["driver_opts"]["type"] == "tmpfs"
    assert {"uid=7700", "gid=7700", "mode=2770"} <= set(folder["driver_opts"]["o"].split(","))


def test_both_files_say_the_same_of_the_runtime_folder(merge: Merge, product: dict[str, Any]) -> None:
    assert merge(COORDINATOR)["volumes"]["cf-orch-run"] == product["volumes"]["cf-orch-run"]


def test_the_state_is_kept_where_the_coordinator_keeps_it(merged: dict[str, Any]) -> None:
    state = {"type": "volume", "source": "state", "target": "/var/lib/cf-orch", "volume": {}}

    assert state in merged["services"]["coordinator"]["volumes"]
    assert "CF_ORCH_STATE_DIR=/var/lib/cf-orch" in (DEPLOY / "Dockerfile").read_text()


@pytest.mark.parametrize("name", BOTH)
def test_the_commands_are_ours(merged: dict[str, Any], name: str) -> None:
    command, *flags = merged["services"][name]["command"]
    require_part(command in COMMANDS, f"cf-orch {command}")
    parser = argparse.ArgumentParser()
    __import__(COMMANDS[command][0], fromlist=["configure"]).configure(parser)

    parser.parse_args(flags)  # a flag that is not known exits


def test_the_coordinators_settings_are_good_as_they_stand(merged: dict[str, Any]) -> None:
    service = merged["services"]["coordinator"]
    config = read_config({}, service["environment"])

    assert (config.host, config.port, config.token, config.devices) == ("127.0.0.1", 7700, None, ())
    assert service["network_mode"] == "host", "its loopback is the host's"


def test_other_machines_are_served_with_a_token_only(merge: Merge) -> None:
    def settings(environ: dict[str, str]) -> dict[str, str]:
        environment: dict[str, str] = merge(COORDINATOR, environ=environ)["services"]["coordinator"]["environment"]
        return environment

    with pytest.raises(ConfigError, match="CF_ORCH_TOKEN"):
        read_config({}, settings({"CF_ORCH_HOST": "0.0.0.0"}))

    config = read_config({}, settings({"CF_ORCH_HOST": "0.0.0.0", "CF_ORCH_TOKEN": "secret", "CF_ORCH_PORT": "7777"}))
    assert (config.host, config.port, config.token) == ("0.0.0.0", 7777, "secret")


def test_devices_that_no_driver_shows_can_be_declared(merge: Merge) -> None:
    told = merge(COORDINATOR, environ={"CF_ORCH_DEVICES": "name=RTX 4090,vram_gb=24;host,vram_gb=8"})
    config = read_config({}, told["services"]["coordinator"]["environment"])

    assert [spec.kind for spec in config.devices] == ["declared", "host"]


def test_a_product_finds_its_sidecar_and_is_let_in(product: dict[str, Any]) -> None:
    web, sidecar = product["services"]["web"], product["services"]["cf-orch-sidecar"]
    address = web["environment"]["CF_ORCH_URL"]

    assert address.startswith("unix://")
    assert f"--socket={address.removeprefix('unix://')}" in sidecar["command"]
    assert "--service=kiwi" in sidecar["command"]
    assert RUNTIME in web["volumes"]
    assert RUNTIME in sidecar["volumes"]
    assert web["group_add"] == ["7700"]


def test_a_sidecar_finds_the_coordinator_of_its_host_or_of_another(merge: Merge, product: dict[str, Any]) -> None:
    elsewhere = {"CF_ORCH_COORDINATOR": "http://gpu-1:7700", "CF_ORCH_TOKEN": "secret", "CF_ORCH_SERVICE": "mango"}
    sidecar = merge(SIDECAR, environ={**elsewhere, "CF_ORCH_FALLBACK": "wait"})["services"]["cf-orch-sidecar"]

    here = product["services"]["cf-orch-sidecar"]["environment"]
    assert here == {"CF_ORCH_URL": f"unix://{DEFAULT_SOCKET}", "CF_ORCH_TOKEN": ""}
    assert sidecar["environment"] == {"CF_ORCH_URL": "http://gpu-1:7700", "CF_ORCH_TOKEN": "secret"}
    assert sidecar["command"][1:] == ["--service=mango", "--socket=/run/cf-orch/mango.sock", "--fallback=wait"]


def test_a_setting_of_the_persons_own_shell_does_not_reach_the_sidecar(merge: Merge) -> None:
    """CF_ORCH_URL on the host means the host's loopback, where no container is."""
    sidecar = merge(SIDECAR, environ={"CF_ORCH_URL": "http://127.0.0.1:7700"})["services"]["cf-orch-sidecar"]

    assert sidecar["environment"]["CF_ORCH_URL"] == f"unix://{DEFAULT_SOCKET}"


def test_the_runtime_folder_may_be_the_hosts(merge: Merge) -> None:
    sidecar = merge(SIDECAR, environ={"CF_ORCH_RUNTIME": "/run/cf-orch"})["services"]["cf-orch-sidecar"]

    (mount,) = sidecar["volumes"]
    assert (mount["type"], mount["source"], mount["target"]) == ("bind", "/run/cf-orch", "/run/cf-orch")


def test_the_coordinators_image_is_built_from_the_recipe(merged: dict[str, Any]) -> None:
    build = merged["services"]["coordinator"]["build"]

    assert (Path(build["context"]) / build["dockerfile"]).samefile(DEPLOY / "Dockerfile")
    assert {merged["services"][name]["image"] for name in BOTH} == {"cf-orch"}
