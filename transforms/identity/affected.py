"""What a change reaches: which records are read again, which pairs weighed again and which persons
made again.

A mention depends on its record, a resident's also on the household; a pair on two mentions; its
probability on the pairs of the mention that is no resident; a person on the links that hold it
together. What is outside is as it was, so the result is that of making all anew.
"""

from datetime import date

import duckdb

from common.quoting import literal
from transforms.identity.mentions import COMPARED, REGISTRY
from transforms.identity.partition import CERTAIN
from transforms.standardise.birth_dates import OLDEST_YEARS


def touched(connection: duckdb.DuckDBPyConnection, today: date) -> None:
    """Table `touched` (source_record_id): records that changed, came or went, those whose birth
    date is believed from today on or no longer, residents who had one of these as partner, and
    who may be partner of any of them now.

    From tables `before` (mentions as the newest linking compared them), `renewed`
    (source_record_id; what batches since then wrote) and `couple` (source_record_id,
    household_number; residents now who may have a partner).
    """
    connection.execute(
        f"""
        INSERT INTO renewed
        SELECT source_record_id FROM before
        WHERE believed_from <= DATE {literal(today)} OR birth_date > DATE {literal(today)}
            OR {today.year} - year(birth_date) > {OLDEST_YEARS};
        CREATE OR REPLACE TEMP TABLE once AS
        SELECT nik, household_number FROM before SEMI JOIN renewed USING (source_record_id)
        WHERE role = {literal(REGISTRY)};
        CREATE OR REPLACE TEMP TABLE touched AS
        SELECT source_record_id FROM renewed
        UNION
        SELECT source_record_id FROM before WHERE role = {literal(REGISTRY)} AND (
            partner_nik IN (SELECT nik FROM once) OR household_number IN (
                SELECT household_number FROM once WHERE nik IS NULL));
        INSERT INTO touched
        SELECT source_record_id FROM couple WHERE household_number IN (
            SELECT household_number FROM couple SEMI JOIN touched USING (source_record_id))
        EXCEPT FROM touched
        """
    )


def anew(connection: duckdb.DuckDBPyConnection) -> None:
    """Views `fresh` and `changed` where nothing is known of before: all of `mention`."""
    connection.execute(
        """
        CREATE OR REPLACE TEMP VIEW fresh AS FROM mention;
        CREATE OR REPLACE TEMP VIEW changed AS SELECT mention_id FROM mention
        """
    )


def changed(connection: duckdb.DuckDBPyConnection) -> None:
    """Tables `changed` (mention_id; new, or compared otherwise than before) and `gone` (mention_id)
    and view `mention` (all mentions) from `fresh` (the mentions of `touched` records), `touched`
    and `before`."""
    compared = ", ".join(("mention_id", *COMPARED))
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE replaced AS
        FROM before SEMI JOIN touched USING (source_record_id);
        CREATE OR REPLACE TEMP TABLE changed AS
        SELECT mention_id FROM fresh ANTI JOIN replaced USING (mention_id)
        UNION ALL
        SELECT mention_id FROM (
            SELECT {compared} FROM fresh SEMI JOIN replaced USING (mention_id)
            EXCEPT SELECT {compared} FROM replaced);
        CREATE OR REPLACE TEMP TABLE gone AS
        SELECT mention_id FROM replaced ANTI JOIN fresh USING (mention_id);
        CREATE OR REPLACE TEMP VIEW mention AS
        FROM fresh UNION ALL BY NAME FROM before ANTI JOIN touched USING (source_record_id)
        """
    )


def edges(connection: duckdb.DuckDBPyConnection) -> None:
    """Completes table `edge`, the pairs of changed mentions, by those whose probability may be
    another now; `standing` holds the pairs (as `pair_before`) that are as they were.

    From tables `changed`, `gone`, `pair_before` (the pairs of the newest linking) and `decided`
    (mention_id; all mentions that people decided on).
    """
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE altered AS FROM changed UNION ALL FROM gone;
        CREATE OR REPLACE TEMP TABLE standing AS
        FROM pair_before
        WHERE mention_id_l NOT IN (FROM altered) AND mention_id_r NOT IN (FROM altered);
        CREATE OR REPLACE TEMP TABLE stirred AS
        FROM altered UNION FROM decided
        UNION SELECT mention_id_l FROM edge UNION SELECT mention_id_r FROM edge
        UNION SELECT mention_id_l FROM pair_before WHERE mention_id_r IN (FROM altered)
        UNION SELECT mention_id_r FROM pair_before WHERE mention_id_l IN (FROM altered);
        CREATE OR REPLACE TEMP TABLE reopened AS
        FROM standing WHERE mention_id_l IN (FROM stirred)
            OR residents <> 1 AND mention_id_r IN (FROM stirred);
        INSERT INTO edge SELECT mention_id_l, mention_id_r, weight FROM reopened;
        DELETE FROM standing WHERE (mention_id_l, mention_id_r) IN
            (SELECT mention_id_l, mention_id_r FROM reopened)
        """
    )


def concerned(connection: duckdb.DuckDBPyConnection) -> None:
    """Table `concerned` (mention_id): mentions of the persons that may be other ones now, closed
    over links and over the persons of before; `mention` is cut down to them, and `pair` completed
    for them, `weighed` being what it held.

    From tables `pair` (weighed again), `standing`, `stirred`, `touched`, `decision` and `holder`
    (mention_id, person_id; persons of before).
    """
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE tied AS
        SELECT mention_id_l AS a, mention_id_r AS b
        FROM (FROM pair UNION ALL FROM standing) WHERE probability >= {CERTAIN} AND residents < 2
        UNION ALL SELECT a, b FROM decision WHERE is_same;
        CREATE OR REPLACE TEMP TABLE concerned AS
        FROM stirred
        UNION SELECT mention_id FROM mention SEMI JOIN touched USING (source_record_id);
        CREATE OR REPLACE TEMP TABLE frontier AS FROM concerned
        """
    )
    while True:
        reached = connection.execute(
            """
            CREATE OR REPLACE TEMP TABLE frontier AS
            SELECT b AS mention_id FROM tied WHERE a IN (FROM frontier)
            UNION SELECT a FROM tied WHERE b IN (FROM frontier)
            UNION SELECT mention_id FROM holder WHERE person_id IN (
                SELECT person_id FROM holder WHERE mention_id IN (FROM frontier))
            EXCEPT FROM concerned;
            INSERT INTO concerned FROM frontier
            """
        ).fetchone()
        if reached == (0,):
            break
    connection.execute(
        """
        CREATE TEMP TABLE spoken AS FROM mention SEMI JOIN concerned USING (mention_id);
        DROP VIEW mention;
        ALTER TABLE spoken RENAME TO mention;
        CREATE OR REPLACE TEMP TABLE weighed AS FROM pair;
        INSERT INTO pair FROM standing WHERE mention_id_l IN (FROM concerned)
        """
    )


def everyone(connection: duckdb.DuckDBPyConnection) -> None:
    """The same tables where nothing is known of before: `concerned` all mentions, of now from
    `mention` and of before from `holder`, and `weighed` all pairs."""
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE concerned AS
        SELECT mention_id FROM mention UNION SELECT mention_id FROM holder;
        CREATE OR REPLACE TEMP VIEW weighed AS FROM pair
        """
    )
