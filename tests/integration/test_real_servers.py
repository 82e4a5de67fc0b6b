"""The five sources read from real PostgreSQL and MariaDB give the same core as the stand-ins."""

import city
from pipeline import night
from tests.integration.conftest import Town
from tests.same import content_hashes


def test_real_servers_and_stand_ins_agree(first_night, tmp_path, postgres_server, mariadb_server):
    systems = {
        "civil_registry": postgres_server.create_database("registry"),
        **{name: mariadb_server.create_database(name) for name in ("simreda", "brojol", "cctv")},
    }
    home = tmp_path / "var"
    city.build(home / "city", 5000, 1, systems=city.Systems(**systems))
    town = Town(home)
    (home / "secrets").mkdir()
    key = (first_night.home / "secrets" / "pseudonym.key").read_text()
    (home / "secrets" / "pseudonym.key").write_text(key)
    with town.resolver() as resolve:
        failures = night.run(
            town.settings, town.sources, lambda name: systems.get(name) or resolve(name)
        )
    assert failures == []
    here, there = content_hashes(first_night.settings), content_hashes(town.settings)
    compared = [name for name in here if name.startswith(("core.", "mart.", "ref."))]
    assert len(compared) > 25
    assert {name: here[name] for name in compared} == {name: there[name] for name in compared}
