"""Settings: flags over the environment over the file, and every wrong one named at once."""

from pathlib import Path

import pytest

from cf_orch.coordinator.config import ConfigError, read_config

GIB = 2**30


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "cf-orch.toml"
    path.write_text(text)
    return str(path)


def test_defaults() -> None:
    """Nothing said: loopback, the usual port, a journal on disk."""
    config = read_config({}, {})

    assert (config.host, config.port, config.journal, config.token) == ("127.0.0.1", 7700, "sqlite", None)
    assert config.state_dir.is_absolute()


def test_flags_over_environment_over_file(tmp_path: Path) -> None:
    """The nearer to the command line, the stronger."""
    path = write(tmp_path, 'port = 1\nhost = "127.0.0.3"\nstate_dir = "/a"\n')

    config = read_config({"config": path, "port": "3"}, {"CF_ORCH_PORT": "2", "CF_ORCH_HOST": "127.0.0.2"})

    assert (config.port, config.host, str(config.state_dir)) == (3, "127.0.0.2", "/a")


def test_tables(tmp_path: Path) -> None:
    """Quotas, task types, reserves and policy come from the file."""
    path = write(
        tmp_path,
        """
        devices = ["name=RTX 4090,vram_gb=24"]
        [policy]
        aging_s = 300
        protect = "strict"
        protected_priority = "interactive"
        min_residency_s = 0
        [quotas.batch-tools]
        max_vram_gb = 12
        max_priority = "batch"
        [tasks.recipe_llm]
        class = "interactive"
        vram_gb = 5.5
        [reserve_gb]
        GPU-1 = 2.0
        """,
    )

    config = read_config({"config": path}, {})

    assert config.devices[0].vram_bytes == 24 * GIB
    assert config.policy.aging_s == 300
    assert (config.policy.protect, config.policy.protected_priority) == ("strict", 30)
    assert config.policy.min_residency_s == 0
    assert config.policy.quota("batch-tools").max_vram_bytes == 12 * GIB
    assert config.policy.quota("batch-tools").max_priority == 10
    assert config.policy.task("recipe_llm").vram_bytes == 5.5 * GIB
    assert config.policy.task("recipe_llm").priority == 30
    assert config.reserve_bytes == {"GPU-1": 2 * GIB}


def test_every_wrong_setting_is_named_at_once(tmp_path: Path) -> None:
    """One run tells a person all that is to be mended."""
    path = write(
        tmp_path,
        """
        prot = 1
        journal = "papyrus"
        [policy]
        agingg_s = 1
        stale_after_s = -1
        idle_protect_s = -1
        protect = "sometimes"
        protected_priority = "everybody"
        [quotas.a]
        max_vram_gb = "lots"
        max_priority = "urgent"
        [tasks.b]
        klass = 1
        """,
    )

    with pytest.raises(ConfigError) as caught:
        read_config({"config": path, "port": "http", "devices": ["vram_gb=x"]}, {})

    text = "\n".join(caught.value.problems)
    for word in (
        "'prot'", "'papyrus'", "agingg_s", "stale_after_s", "idle_protect_s", "sometimes", "everybody", "max_vram_gb",
        "urgent", "klass", "--port", "vram_gb=x",
    ):  # fmt: skip
        assert word in text
    assert len(caught.value.problems) == 12


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"port": "65536"}, "0 to 65535"),
        ({"host": "0.0.0.0"}, "CF_ORCH_TOKEN"),
        ({"host": "192.168.1.5"}, "CF_ORCH_TOKEN"),
        ({"config": "/nowhere/at/all.toml"}, "No such file"),
        ({"devices": ["host,vram_gb=1", "host,vram_gb=2"]}, "more than once"),
    ],
)
def test_wrong_settings(flags: dict[str, object], expected: str) -> None:
    """Each says what is wrong and what to do."""
    with pytest.raises(ConfigError, match=expected):
        read_config(flags, {})


@pytest.mark.parametrize("text", ["quotas = 1", "devices = 3", "[quotas]\na = 1", "port = 'x'", "port = [", "\xff"])
def test_malformed_files(tmp_path: Path, text: str) -> None:
    """A file of another shape is a named problem, not a traceback."""
    path = tmp_path / "cf-orch.toml"
    path.write_bytes(text.encode("latin-1"))

    with pytest.raises(ConfigError):
        read_config({"config": str(path)}, {})


def test_a_token_opens_other_addresses() -> None:
    """With a shared secret any address may be served."""
    config = read_config({"host": "0.0.0.0"}, {"CF_ORCH_TOKEN": "secret"})

    assert config.token == "secret"
