"""Permanent ids of persons: given once, kept through every run, never of another meaning.

Mentions of people are grouped anew each time (`transforms/identity`); here each group gets the id
of the person whose mentions it holds most of. An id that loses its group was merged into the one
that has most of its mentions; a group without an id was split from the person it came from, or is
new. Ids are random; what happened to each is in `core.person_history`, and the mentions of each,
with the nights they held, in `core.person_mention`.
"""

from datetime import date

import duckdb


def assign(connection: duckdb.DuckDBPyConnection) -> None:
    """Table `assigned` (cluster, person_id, event, other_person_id) from table `member`
    (mention_id, cluster) and the links that hold in the lake.

    Largest overlap first, equal ones in the order of id and cluster: nothing depends on the order
    of rows. A mention that no person holds now counts for the one that held it last, so that who
    returns is who was there.
    """
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE held AS
        SELECT role || ':' || source_record_id AS mention_id, person_id, valid_to IS NULL AS now
        FROM lake.core.person_mention
        QUALIFY row_number() OVER (PARTITION BY source_record_id, role
            ORDER BY coalesce(valid_to, DATE '9999-12-31') DESC, valid_from DESC) = 1;
        CREATE OR REPLACE TEMP TABLE overlap AS
        SELECT cluster, person_id, count(*) FILTER (now) AS now, count(*) AS ever
        FROM member JOIN held USING (mention_id) GROUP BY ALL;
        CREATE OR REPLACE TEMP TABLE rest AS FROM overlap;
        CREATE OR REPLACE TEMP TABLE assigned (
            cluster VARCHAR, person_id UUID, event VARCHAR, other_person_id UUID)
        """
    )
    while True:
        connection.execute(
            """
            CREATE OR REPLACE TEMP TABLE chosen AS
            SELECT cluster, person_id FROM rest
            QUALIFY row_number() OVER (
                    PARTITION BY cluster ORDER BY now DESC, ever DESC, person_id) = 1
                AND row_number() OVER (
                    PARTITION BY person_id ORDER BY now DESC, ever DESC, cluster) = 1
            """
        )
        if not connection.execute("SELECT count(*) FROM chosen").fetchall()[0][0]:
            break
        connection.execute(
            """
            INSERT INTO assigned SELECT cluster, person_id, NULL, NULL FROM chosen;
            DELETE FROM rest WHERE cluster IN (SELECT cluster FROM chosen)
                OR person_id IN (SELECT person_id FROM chosen)
            """
        )
    connection.execute(
        """
        INSERT INTO assigned
        SELECT cluster, uuid(), if(any_value(person_id) IS NULL, 'created', 'split_from'),
            arg_max(person_id, (now, ever, person_id::VARCHAR))
        FROM (SELECT DISTINCT cluster FROM member ANTI JOIN assigned USING (cluster))
        LEFT JOIN overlap USING (cluster) GROUP BY cluster
        """
    )


def record(connection: duckdb.DuckDBPyConnection, night: date, model: str) -> dict[str, int]:
    """Write what `assigned` says into the lake, in the caller's transaction. Returns events →
    how many; nothing is written where nothing changed."""
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE linked AS
        SELECT source_record_id, role, person_id, how, probability
        FROM member JOIN mention USING (mention_id) JOIN assigned USING (cluster)
        JOIN reason USING (mention_id);
        CREATE OR REPLACE TEMP TABLE current AS
        SELECT source_record_id, role, person_id FROM lake.core.person_mention
        WHERE valid_to IS NULL;
        CREATE OR REPLACE TEMP TABLE closing AS
        FROM current ANTI JOIN linked USING (source_record_id, role, person_id);
        CREATE OR REPLACE TEMP TABLE opening AS
        FROM linked ANTI JOIN current USING (source_record_id, role, person_id);
        CREATE OR REPLACE TEMP TABLE happened AS
        SELECT person_id, event, other_person_id FROM assigned WHERE event IS NOT NULL
        UNION ALL
        SELECT person_id, if(other IS NULL, 'ended', 'merged_into'), other FROM (
            SELECT held.person_id, arg_max(assigned.person_id,
                (now, cluster)) FILTER (assigned.person_id IS NOT NULL) AS other
            FROM (SELECT DISTINCT person_id FROM closing ANTI JOIN linked USING (person_id)) AS held
            LEFT JOIN overlap USING (person_id) LEFT JOIN assigned USING (cluster)
            GROUP BY held.person_id)
        UNION ALL
        SELECT DISTINCT person_id, 'returned', NULL::UUID FROM linked
        ANTI JOIN current USING (person_id)
        SEMI JOIN (SELECT person_id FROM assigned WHERE event IS NULL) USING (person_id)
        """
    )
    connection.execute(
        f"""
        DELETE FROM lake.core.person_mention AS held USING closing
        WHERE held.valid_to IS NULL AND held.valid_from = DATE '{night}'
            AND held.source_record_id = closing.source_record_id AND held.role = closing.role;
        UPDATE lake.core.person_mention AS held SET valid_to = DATE '{night}' FROM closing
        WHERE held.valid_to IS NULL
            AND held.source_record_id = closing.source_record_id AND held.role = closing.role;
        """
    ) if _any(connection, "closing") else None
    if _any(connection, "opening"):
        connection.execute(
            f"""
            INSERT INTO lake.core.person_mention
            SELECT source_record_id, role, person_id, how, probability, '{model}', DATE '{night}',
                NULL
            FROM opening
            """
        )
    if _any(connection, "happened"):
        connection.execute(
            f"""
            INSERT INTO lake.core.person_history
            SELECT person_id, DATE '{night}', event, other_person_id, '{model}' FROM happened
            """
        )
    return dict(connection.execute("SELECT event, count(*) FROM happened GROUP BY ALL").fetchall())


def _any(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    return bool(connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])
