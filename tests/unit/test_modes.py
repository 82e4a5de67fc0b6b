"""What every entry point writes is its owner's only, and what is not is named."""

import os
import subprocess
import sys

import pytest

from common.settings import ROOT, Settings
from pipeline.doctor import OPEN_SHOWN, _modes

LOOSE = 0o022
"""As most machines have it."""


def run(home, *command, **more):
    return subprocess.run(
        [sys.executable, *command], env=os.environ | {"MUARA_HOME": str(home)}, cwd=ROOT,
        umask=LOOSE, check=True, text=True, capture_output=True, **more,
    )  # fmt: skip


def open_to_others(home):
    return [path for path in (home, *home.rglob("*")) if path.stat().st_mode & 0o077]


def test_the_command_line_writes_for_its_owner_only(tmp_path):
    home = tmp_path / "var"
    run(home, "-m", "muara", "account", "add", "siti", "--role", "reviewer",
        input="sungai mengalir ke muara\n")  # fmt: skip
    assert len(list(home.rglob("*"))) > 4
    assert open_to_others(home) == []


@pytest.mark.parametrize("entry", ["muara.cli:main", "dags"])
def test_whatever_is_started_takes_rights_from_others(tmp_path, entry):
    """`dags`: a task of Airflow's, started by whoever started Airflow."""
    script = {
        "dags": "import dags",
        "muara.cli:main": "import sys; from muara.cli import main; sys.argv[1:] = ['--help']\n"
                          "try: main()\nexcept SystemExit: pass",
    }[entry]  # fmt: skip
    written = tmp_path / "written"
    run(tmp_path, "-c", f"{script}\nopen({str(written)!r}, 'w')")
    assert written.stat().st_mode & 0o777 == 0o600


def test_the_doctor_names_what_is_open_and_how_to_close_it(tmp_path):
    settings = Settings(home=tmp_path / "var")
    deep = settings.home / "lake" / "data" / "core"
    for folder in (settings.home, deep.parent.parent, deep.parent, deep):
        folder.mkdir(mode=0o700)
    (deep / "a.parquet").touch(mode=0o600)
    (settings.home / "current").symlink_to(deep)
    assert _modes(settings).holds
    for mode in (0o640, 0o604, 0o601, 0o620):
        (deep / "a.parquet").chmod(mode)
        assert "lake/data/core/a.parquet" in _modes(settings).detail
    (deep / "a.parquet").chmod(0o600)
    settings.home.chmod(0o755)
    found = _modes(settings)
    assert not found.holds
    assert f"chmod -R go= {settings.home}" in found.detail
    for n in range(10):
        (deep / f"{n}.parquet").touch()
        (deep / f"{n}.parquet").chmod(0o644)
    assert f"and {11 - OPEN_SHOWN} more" in _modes(settings).detail
    subprocess.run(["chmod", "-R", "go=", str(settings.home)], check=True)
    assert _modes(settings).holds
