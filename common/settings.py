"""Typed settings, from the environment (`MUARA_…`) or `muara.toml` in the working directory."""

import os
import re
import secrets
import tomllib
from collections.abc import Iterable, Iterator
from datetime import date
from difflib import get_close_matches
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, ByteSize, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from common.definition_files import faults_of
from common.errors import DefinitionError, HomeFault
from common.home_files import write_once

ROOT = Path(__file__).resolve().parent.parent

Memory = Annotated[ByteSize, Field(ge=50_000_000)]
"""As written: 800MB, 1.5 GiB; as held: bytes."""
Network = IPv4Network | IPv6Network


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("no time zone such as Asia/Jakarta")
    return name


class Settings(BaseSettings):
    """Where things live and how much the machine may be used."""

    model_config = SettingsConfigDict(env_prefix="MUARA_", toml_file="muara.toml", extra="forbid")

    home: Path = Field(ROOT / "var", description="everything generated lives here")
    profile: Path = Field(ROOT / "profiles" / "kota_cirebon", description="the city's own data")
    connectors: Path = Field(ROOT / "connectors", description="one folder per agency system")
    expectations: Path = Field(ROOT / "expectations", description="the rules, one file per source")
    contracts: Path = Field(ROOT / "warehouse" / "contracts", description="one file per agency")
    contact: str = Field(
        "pengelola gudang data kota", description="whom agencies may ask, in Indonesian"
    )
    timezone: Annotated[str, AfterValidator(_known_zone)] = "Asia/Jakarta"
    today: date | None = Field(None, description="overrides the clock, for tests and re-runs")
    replay_night: date | None = Field(
        None, description="tonight, though later nights were worked on: for a replay of one source"
    )
    memory_limit: Memory = Field(ByteSize(800_000_000), description="DuckDB's memory for one query")
    batch_memory_limit: Memory = Field(
        ByteSize(200_000_000),
        description="DuckDB's memory for one batch; what needs more goes through the disk",
    )
    threads: int = 2
    batch_rows: int = Field(10_000, description="rows a reader holds at a time")
    lock_timeout_seconds: float = 600
    connect_timeout_seconds: int = 10
    statement_timeout_seconds: int = 600
    query_seconds: int = Field(300, ge=1, description="how long `muara sql` may take")
    retries: int = 2
    retry_delay_seconds: float = 30
    snapshots_kept_days: int = 7
    keep_originals_days: int = Field(
        366, ge=0, description="how long the bytes of files are kept as they came"
    )
    alarm_channels: str = Field(
        "", description="connection ids of the channels for alarms, separated by commas"
    )
    reconcile_schedule: str = Field("0 6 * * 0", description="cron: when sources are compared")
    impact_assessment: str = Field(
        "", description="reference of the impact assessment without which no people are linked"
    )
    linkage_memory_limit: Memory = Field(
        ByteSize(3_000_000_000), description="DuckDB's memory for linking people"
    )
    backup_place: str = Field(
        "", description="where backups are kept: a folder, or a connection id; empty: none are made"
    )
    backup_kept_nights: int = Field(14, ge=1, description="of so many nights the backup is kept")
    backup_kept_weeks: int = Field(8, ge=0, description="and of so many weeks the last one")
    backup_kept_months: int = Field(12, ge=0, description="and of so many months the last one")
    portal_port: int = Field(8090, ge=1, le=65535, description="where `muara portal` listens")
    portal_url: str = Field(
        "",
        description="where people reach the portal; empty: its port on this machine. It answers "
        "to this name and those of the loopback only",
    )
    portal_trusted_proxies: str = Field(
        "",
        description="addresses or networks (CIDR) of the proxies before the portal whose "
        "`X-Forwarded-For` is believed, separated by commas; empty: nobody's",
    )

    @field_validator("portal_trusted_proxies")
    @classmethod
    def _networks(cls, text: str) -> str:
        if any(network.prefixlen == 0 for network in _networks_in(text)):
            raise ValueError("a network of all addresses would believe everybody")
        return text

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    def __init__(self, **values: Any) -> None:
        """Raises DefinitionError for a setting that is none, whoever asks."""
        try:
            super().__init__(**values)
        except ValidationError as error:
            faults = faults_of(error)
            said = f"{len(faults)} wrong setting(s): {'; '.join(faults)}"
        except tomllib.TOMLDecodeError as error:
            said = f"muara.toml is not readable as TOML ({error})"
        except UnicodeDecodeError:
            said = "muara.toml is not UTF-8 text"
        else:
            said = "; ".join(_misspelt(type(self).model_fields))
        if not said:
            return
        raise DefinitionError(said, next_step="correct MUARA_… in the environment or muara.toml.")

    def model_post_init(self, _: object) -> None:
        self.home = self.home.resolve()

    @property
    def channels(self) -> list[str]:
        return [name.strip() for name in self.alarm_channels.split(",") if name.strip()]

    @property
    def trusted_proxies(self) -> list[Network]:
        return _networks_in(self.portal_trusted_proxies)

    @property
    def portal_address(self) -> str:
        return self.portal_url or f"http://127.0.0.1:{self.portal_port}"

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @cached_property
    def pseudonym_key(self) -> str:
        """The secret that keys every surrogate, made once, readable by the owner only.

        Losing it makes every surrogate meaningless; leaking it makes them guessable. Raises
        HomeFault when it is gone while what it keyed is there, or is no key.
        """
        path = self.home / "secrets" / "pseudonym.key"
        if not path.exists():
            self._require_nothing_keyed(path)
        return _key(path)

    @property
    def backup_key(self) -> str:
        """The secret that opens the backups, made once, readable by the owner only."""
        return _key(self.home / "secrets" / "backup.key")

    def _require_nothing_keyed(self, path: Path) -> None:
        """A new key over an old lake would give every record and person another surrogate."""
        for keyed in (self.home / "lake" / "catalog.sqlite", self.home / "lake" / "data"):
            if keyed.exists():
                raise HomeFault(
                    f"the key is gone, and {keyed.relative_to(self.home)} was made with it",
                    where=str(path),
                    next_step="put it back from where it is kept apart; no other key will do.",
                )


def _misspelt(known: Iterable[str]) -> Iterator[str]:
    """Names in the environment that are nearly a setting's: they would set nothing."""
    names = [f"MUARA_{name.upper()}" for name in known]
    for name in sorted(os.environ):
        if name.startswith("MUARA_") and name not in names:
            for meant in get_close_matches(name, names, n=1, cutoff=0.9):
                yield f"{name} is no setting; is {meant} meant?"


def _networks_in(text: str) -> list[Network]:
    """Raises ValueError for what is no address or network."""
    return [ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip()]


def _key(path: Path) -> str:
    if not path.exists():
        write_once(path, secrets.token_hex(32))
    key = path.read_bytes()
    if not re.fullmatch(rb"[0-9a-f]{64}", key):
        raise HomeFault(
            f"no key: {len(key)} bytes, not 64 hexadecimal digits and nothing else",
            where=str(path),
            next_step="put it back from where it is kept apart. Only where nothing was ever "
            "loaded or backed up: delete it, and a new one is made.",
        )
    return key.decode()
