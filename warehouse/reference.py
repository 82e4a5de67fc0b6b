"""Reference tables from packaged data: regions and agencies of the profile, national code lists.

Every row names its origin. A table is rewritten only when its content changed.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from common.errors import DefinitionError
from common.quoting import literal
from common.settings import Settings
from warehouse.catalog import make_equal, transaction, writing

REFERENCE = Path(__file__).parent / "reference"

# Our list name → file of the civil registry's code lists.
CODE_LISTS = {
    "religion": "agama",
    "family_role": "hubungan",
    "marital": "kawin",
    "occupation": "pekerjaan",
    "education": "pendidikan_kk",
    "blood_type": "golongan_darah",
    "life_status": "status_dasar",
    "nationality": "warganegara",
}

# What a profile's lists hold, in this order and nothing else.
LISTS = {
    "region.csv": ("kode_kemendagri", "level", "nama_2025", "nama_2017", "nama_2015", "kode_bps",
                   "nama_bps", "kodepos", "lat", "lng"),
    "agency.csv": ("agency_code", "agency_name", "agency_name_short", "kind", "region_code"),
    "same_report.csv": ("days", "common_words"),
}  # fmt: skip


def _queries(settings: Settings) -> dict[str, str]:
    codes = " UNION ALL ".join(
        f"SELECT {literal(name)} AS list, id AS code, trim(nama) AS code_name, "
        f"{literal(f'civil registry {file}')} AS origin "
        f"FROM read_csv({literal(REFERENCE / 'civil_registry_codes' / f'{file}.tsv')}, "
        "delim='\t', header=true, all_varchar=true)"
        for name, file in CODE_LISTS.items()
    )
    profile, planning = settings.profile, REFERENCE / "planning_codes"
    options = "delim='\t', header=true, all_varchar=true, quote=''"
    return {
        "ref.region": f"""
            SELECT kode_kemendagri AS region_code, level, nama_2025 AS region_name,
                CASE level WHEN 'kota' THEN NULL
                    ELSE regexp_replace(kode_kemendagri, '\\.[0-9]+$', '') END AS parent_code,
                kode_bps AS bps_code, kodepos AS postcode, CAST(lat AS DOUBLE) AS latitude,
                CAST(lng AS DOUBLE) AS longitude
            FROM read_csv({literal(profile / "region.csv")}, all_varchar=true, header=true)""",
        "ref.agency": f"""
            SELECT * FROM read_csv({literal(profile / "agency.csv")}, all_varchar=true,
                header=true)""",
        "ref.same_report": f"""
            SELECT CAST(days AS INTEGER) AS days, CAST(common_words AS DOUBLE) AS common_words
            FROM read_csv({literal(profile / "same_report.csv")}, all_varchar=true, header=true)""",
        "ref.reporting_limit": f"""
            SELECT event, CAST(valid_from AS DATE) AS valid_from, CAST(days AS INTEGER) AS days,
                source
            FROM read_csv({literal(REFERENCE / "reporting_limits.csv")}, all_varchar=true,
                header=true)""",
        "ref.code": codes,
        "ref.planning_code": f"""
            WITH old AS (SELECT * FROM read_csv(
                {literal(planning / "permendagri13_program_kegiatan.tsv.gz")}, {options})),
            new AS (SELECT * FROM read_csv(
                {literal(planning / "permendagri90_subkegiatan_kabkota.tsv.gz")}, {options})),
            listed AS (
                SELECT 'permendagri13' AS regulation,
                    array_to_string(string_split(kode, '.')[1:3], '.') AS code,
                    'program' AS level, program AS name FROM old
                UNION ALL SELECT 'permendagri13', kode, 'kegiatan', kegiatan FROM old
                UNION ALL SELECT 'permendagri90',
                    array_to_string(string_split(kode, '.')[1:3], '.'), 'program', program FROM new
                UNION ALL SELECT 'permendagri90',
                    array_to_string(string_split(kode, '.')[1:5], '.'), 'kegiatan', kegiatan
                FROM new
                UNION ALL SELECT 'permendagri90', kode, 'sub_kegiatan', sub_kegiatan FROM new),
            cleaned AS (
                SELECT regulation, code, level,
                    trim(regexp_replace(name, '\\s+', ' ', 'g')) AS code_name FROM listed
                WHERE code IS NOT NULL AND code <> '')
            SELECT regulation, code, any_value(level) AS level, min(code_name) AS code_name,
                count(DISTINCT code_name) > 1 AS is_ambiguous,
                'code list of ' || regulation || ', 2020 release of a public planning system'
                    AS origin
            FROM cleaned GROUP BY regulation, code""",
    }


def load_reference(settings: Settings) -> list[str]:
    """Bring the reference tables up to the packaged data. Returns the tables that changed.

    Raises DefinitionError with every fault of the profile's lists at once.
    """
    _require_lists(settings.profile)
    with writing(settings, "upkeep") as connection, transaction(connection):
        return [
            name
            for name, query in _queries(settings).items()
            if make_equal(connection, name, query)
        ]


def _require_lists(profile: Path) -> None:
    faults = [
        fault for name, columns in LISTS.items() for fault in _faults(profile / name, columns)
    ]
    if faults:
        raise DefinitionError(
            "; ".join(faults),
            where=f"profile {profile.name}",
            next_step="correct the lists named; profiles/kota_cirebon has an example.",
        )


def _faults(path: Path, columns: tuple[str, ...]) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file, strict=True)
            head = tuple(next(rows, ()))
            uneven = [rows.line_num for row in rows if len(row) != len(columns)]
    except FileNotFoundError:
        yield f"{path.name}: there is none"
        return
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        yield f"{path.name}: not readable as CSV ({type(error).__name__})"
        return
    if head != columns:
        yield f"{path.name}: its columns must be {', '.join(columns)}"
    elif uneven:
        yield f"{path.name}: line {uneven[0]} has another number of columns"
