"""From scored pairs to persons: who is one, under constraints.

`mention` (mention_id, source_record_id, role) and `edge` (mention_id_l, mention_id_r, weight in
bits, probability) are tables of the connection. The results are `member` (mention_id, cluster),
where the smallest mention_id of a cluster names it, and `reason` (mention_id, how, probability).
Both are functions of the two tables, whatever the order of their rows.

Constraints: one cluster has at most one resident of the registry, and of the people of one record
(mother, father, child) at most one.
"""

import duckdb
import pyarrow as pa

from transforms.identity.mentions import REGISTRY

CERTAIN = 0.99
"""A link is made on its own when the model gives it this probability, its rivals counted."""


def candidates(connection: duckdb.DuckDBPyConnection) -> None:
    """Table `link`: the pairs that may join two mentions (mention_id_l, mention_id_r, weight,
    probability).

    A person is in the registry once, so the registry's residents that a mention may be exclude each
    other: the probability of one counts the others as rivals (Bayes over exclusive alternatives),
    and only the best stays.
    """
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE directed AS
        SELECT if(l.role = '{REGISTRY}', mention_id_r, mention_id_l) AS mention_id,
            if(l.role = '{REGISTRY}', mention_id_l, mention_id_r) AS resident_id, weight,
            least(weight, 60) AS bits
        FROM edge JOIN mention l ON l.mention_id = mention_id_l
        JOIN mention r ON r.mention_id = mention_id_r
        WHERE (l.role = '{REGISTRY}') <> (r.role = '{REGISTRY}');
        CREATE OR REPLACE TEMP TABLE link AS
        SELECT mention_id AS mention_id_l, resident_id AS mention_id_r, weight,
            pow(2, bits) / (1 + sum(pow(2, bits)) OVER (PARTITION BY mention_id)) AS probability
        FROM directed
        QUALIFY row_number() OVER (PARTITION BY mention_id ORDER BY weight DESC, resident_id) = 1
        UNION ALL
        SELECT mention_id_l, mention_id_r, weight, probability
        FROM edge JOIN mention l ON l.mention_id = mention_id_l
        JOIN mention r ON r.mention_id = mention_id_r
        WHERE l.role <> '{REGISTRY}' AND r.role <> '{REGISTRY}'
        """
    )


def partition(connection: duckdb.DuckDBPyConnection, certain: float = CERTAIN) -> None:
    """Table `member` from table `link`; clusters that would break a constraint are built again from
    their strongest links, leaving out each link that would break one."""
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE kept AS
        SELECT mention_id_l AS a, mention_id_r AS b, weight, probability FROM link
        WHERE probability >= {certain}
        """
    )
    _components(connection)
    broken = connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE broken AS
        SELECT cluster FROM member JOIN mention USING (mention_id) GROUP BY cluster
        HAVING count(*) FILTER (role = '{REGISTRY}') > 1
            OR count(*) > count(DISTINCT source_record_id);
        SELECT a, b, l.role = '{REGISTRY}', r.role = '{REGISTRY}', l.source_record_id,
            r.source_record_id
        FROM kept JOIN member ON member.mention_id = a
        JOIN mention l ON l.mention_id = a JOIN mention r ON r.mention_id = b
        WHERE cluster IN (FROM broken) ORDER BY weight DESC, a, b
        """
    ).fetchall()
    connection.execute("DELETE FROM member WHERE cluster IN (FROM broken)")
    again = pa.table(dict(zip(("mention_id", "cluster"), _strongest_first(broken), strict=True)))
    connection.register("again", again)
    connection.execute("INSERT INTO member FROM again")
    connection.unregister("again")
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE reason AS
        SELECT mention_id, CASE WHEN role = '{REGISTRY}' THEN 'register'
            WHEN best IS NULL THEN 'alone' ELSE 'model' END AS how,
            if(how = 'model', best, NULL) AS probability
        FROM mention LEFT JOIN (
            SELECT mention_id, max(probability) AS best
            FROM (SELECT a AS mention_id, b AS other, probability FROM kept
                UNION ALL SELECT b, a, probability FROM kept)
            JOIN member USING (mention_id)
            JOIN member o ON o.mention_id = other AND o.cluster = member.cluster
            GROUP BY ALL) USING (mention_id)
        """
    )


def _components(connection: duckdb.DuckDBPyConnection) -> None:
    """Table `member`: connected components, the smallest id spread until nothing changes."""
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE both_ways AS
        SELECT a, b FROM kept UNION SELECT b, a FROM kept;
        CREATE OR REPLACE TEMP TABLE member AS
        SELECT mention_id, mention_id AS cluster FROM mention
        """
    )
    while True:
        changed = connection.execute(
            """
            CREATE OR REPLACE TEMP TABLE lower AS
            SELECT a AS mention_id, min(other.cluster) AS cluster
            FROM both_ways JOIN member other ON other.mention_id = b
            JOIN member own ON own.mention_id = a
            GROUP BY a, own.cluster HAVING min(other.cluster) < own.cluster;
            UPDATE member SET cluster = lower.cluster FROM lower
            WHERE member.mention_id = lower.mention_id
            """
        ).fetchone()
        if changed == (0,):
            return


def _strongest_first(links: list[tuple]) -> tuple[list[str], list[str]]:
    """Mentions and the clusters that these links make, strongest first, none joining two residents
    of the registry or two people of one record."""
    group: dict[str, set[str]] = {}
    residents: dict[str, bool] = {}
    records: dict[str, set] = {}
    for a, b, a_resident, b_resident, a_record, b_record in links:
        for one, is_resident, record in ((a, a_resident, a_record), (b, b_resident, b_record)):
            if one not in group:
                group[one], residents[one], records[one] = {one}, is_resident, {record}
        first, second = group[a], group[b]
        if first is second:
            continue
        x, y = min(first), min(second)
        if (residents[x] and residents[y]) or records[x] & records[y]:
            continue
        joined = first | second
        name = min(joined)
        residents[name] = residents[x] or residents[y]
        records[name] = records[x] | records[y]
        for one in joined:
            group[one] = joined
    return list(group), [min(members) for members in group.values()]
