"""Column lineage, read from the code: every column from the agency's table to the contract."""

import json
import shutil

import ibis
import pytest
from typer.testing import CliRunner

from common.errors import DefinitionError
from common.settings import Settings
from muara import cli
from pipeline import lineage
from pipeline.lineage import CONSTANT, PROFILE, Origin, after, before


@pytest.fixture(scope="module")
def made():
    return lineage.graph(Settings())


def test_every_name_that_is_mentioned_is_a_column(made):
    mentioned = {name for origin in made.values() for name in origin.values | origin.choice}
    assert mentioned <= set(made)


def test_every_column_given_away_starts_in_a_source_or_is_declared_to_be_ours(made):
    given = [name for name in made if name.startswith(("contract.", "published."))]
    assert given
    for name in given:
        starts = [one for one in before(made, name) if not made[one].values]
        assert starts, name
        assert all(one.startswith("source.") or made[one].own for one in starts), name


def test_a_column_is_followed_from_the_agency_to_the_agency(made):
    assert after(made, "source.brojol.birth_report.jk_anak") == {
        "landing.brojol__birth_report.sex",
        "landing.brojol__birth_report._row_hash",
        "core.birth_report.sex",
        "core.golden_record.sex",
        "published.core.golden_record.sex",
        "contract.disdukcapil.birth_to_register.sex",
        "quarantine.brojol.row_hash",
        "quarantine.brojol.row_as_sent",
    }


def test_rejected_rows_reach_only_the_agency_whose_contract_names_the_source(made):
    nik = after(made, "source.civil_registry.resident.nik")
    assert "contract.disdukcapil.rejected_row.row_as_sent" in nik
    assert not [name for name in nik if name.startswith("contract.bp4d.")]


def test_a_column_renamed_in_a_definition_is_renamed_in_the_lineage(made, tmp_path):
    shutil.copytree(Settings().connectors, tmp_path / "connectors")
    definition = tmp_path / "connectors" / "brojol" / "source.yml"
    definition.write_text(definition.read_text().replace("berat_gram:", "berat_lahir:"))
    renamed = lineage.graph(Settings(connectors=tmp_path / "connectors"))
    given = "contract.disdukcapil.birth_to_register.weight_gram"
    assert "source.brojol.birth_report.berat_gram" in before(made, given)
    assert before(made, given) ^ before(renamed, given) == {
        "source.brojol.birth_report.berat_gram",
        "source.brojol.birth_report.berat_lahir",
    }


def test_a_looked_up_code_names_what_it_is_looked_up_by(made):
    assert made["core.person.region_code"] == Origin(
        values=frozenset({"ref.region.region_code"}),
        choice=frozenset({
            "ref.region.region_code",
            "landing.civil_registry__resident.province_number",
            "landing.civil_registry__resident.regency_number",
            "landing.civil_registry__resident.district_number",
            "landing.civil_registry__resident.village_number",
        }),
    )  # fmt: skip
    assert made["ref.region.region_code"].own == PROFILE


def test_a_count_goes_back_to_the_keys_of_the_rows_counted(made):
    counted = made["mart.birth_month.notices"]
    assert counted.values == {"core.birth_notice.source_record_id"}
    assert "core.birth_notice.birth_date" in counted.choice
    assert "source.brojol.birth_notice.no_surat" in before(made, "mart.birth_month.notices")


def test_an_element_of_a_list_goes_back_to_the_list(made):
    extension = {"landing.report_inbox__request.extension"}
    assert made["core.report_status.status_number"].values == extension
    assert made["core.report_status.state"].values == extension


def test_both_sides_of_a_union_count(made):
    assert made["mart.birth_month.month"].values == {
        "core.birth_report.birth_date",
        "core.birth_notice.birth_date",
        "core.birth_certificate.birth_date",
    }


def test_a_constant_is_ours_and_nothing_at_all_is_nobodys():
    rows = ibis.table({"a": "string"}, name="t").select(
        "a", level=ibis.literal("rw"), lacking=ibis.null("string")
    )
    assert lineage.computed("x", rows) == {
        "x.a": Origin(frozenset({"t.a"})),
        "x.level": Origin(own=CONSTANT),
        "x.lacking": Origin(),
    }


def told(*words):
    return CliRunner().invoke(cli.app, ["lineage", *words])


def test_the_command_tells_of_a_column_and_of_a_table(made):
    column = json.loads(told("core.person.sex", "--json").stdout)
    assert column["begins_in"] == ["source.civil_registry.resident.jenis_klmin"]
    assert "mart.resident_count.sex" in column["used_for"]
    chosen = {"core.person_history.person_id", "core.person_mention.person_id",
              "mart.resident_count.residents"}  # fmt: skip
    assert "core.golden_record.status" in column["chooses"]
    made_of_persons = ("golden_record", "golden_origin", "birth_case", "birth_state")
    of_others = {name for name in column["chooses"]
                 if not any(one in name for one in made_of_persons)}  # fmt: skip
    assert of_others == chosen | {"published.mart.resident_count.residents"}
    shown = told("core.person.sex").stdout
    assert "used for\ncore.golden_record.sex\nmart.resident_count.sex" in shown
    table = json.loads(told("contract.bp4d.proposal", "--json").stdout)
    assert {one["column"] for one in table} == {
        name for name in made if name.startswith("contract.bp4d.proposal.")
    }


def test_a_column_that_is_not_there_is_refused():
    assert isinstance(told("core.person.shoe_size").exception, DefinitionError)
