"""From scored pairs to persons: who is one, under constraints.

`mention` (mention_id, source_record_id, role), `edge` (mention_id_l, mention_id_r, weight in bits)
and `decision` (a, b, is_same), what people decided, are tables of the connection. The results are
`member` (mention_id, cluster), where the smallest mention_id of a cluster names it, and `reason`
(mention_id, how, probability). Both are functions of these tables, whatever the order of their
rows.

Constraints: what people decided, in any case; else a cluster has at most one resident of the
registry, and of the people of one record (mother, father, child) at most one.
"""

import duckdb
import pyarrow as pa

from common.quoting import literal
from transforms.identity.mentions import REGISTRY

DECIDED = 1e6
"""Bits of what people decided: more than any evidence."""
CERTAIN = 0.99
"""A link is made on its own when the model gives it this probability, its rivals counted."""


def candidates(connection: duckdb.DuckDBPyConnection) -> None:
    """Table `pair`: the edges (mention_id_l, mention_id_r, weight, probability, residents) with
    what they say of one person; `residents`: how many of both are in the registry. The smaller id
    is first, but of a resident and another mention the resident is second.

    A person is in the registry once, so the registry's residents that a mention may be exclude each
    other: the probability of one counts the others as rivals (Bayes over exclusive alternatives).
    It is 0 where people decided that both are two.
    """
    of_registry = literal(f"{REGISTRY}:")
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE parted AS
        SELECT a, b FROM decision WHERE NOT is_same
        UNION ALL SELECT b, a FROM decision WHERE NOT is_same;
        CREATE OR REPLACE TEMP TABLE pair AS
        WITH directed AS (
            SELECT starts_with(l, {of_registry}) AS is_l, starts_with(r, {of_registry}) AS is_r,
                is_l::INT + is_r::INT AS residents, if(residents = 1, is_r, l < r) AS is_so,
                if(is_so, l, r) AS mention_id_l, if(is_so, r, l) AS mention_id_r, weight,
                if((l, r) IN (FROM parted), 0, pow(2, least(weight, 60))) AS odds
            FROM (SELECT mention_id_l AS l, mention_id_r AS r, weight FROM edge))
        SELECT mention_id_l, mention_id_r, weight, odds / (1 + if(residents = 1,
                sum(odds) OVER (PARTITION BY mention_id_l, residents), odds)) AS probability,
            residents
        FROM directed
        """
    )


def partition(connection: duckdb.DuckDBPyConnection, certain: float = CERTAIN) -> None:
    """Table `member` from table `pair`; clusters that would break a constraint are built again from
    their strongest links, leaving out each link that would break one. A link is a pair of at least
    the probability `certain`, more than a half, and never of two residents."""
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE kept AS
        SELECT mention_id_l AS a, mention_id_r AS b, weight, probability FROM pair
        WHERE probability >= {certain} AND residents < 2
        UNION ALL
        SELECT a, b, {DECIDED}, NULL FROM decision
        WHERE is_same AND a IN (SELECT mention_id FROM mention)
            AND b IN (SELECT mention_id FROM mention)
        """
    )
    _components(connection)
    broken = connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE broken AS
        SELECT cluster FROM member JOIN mention USING (mention_id) GROUP BY cluster
        HAVING count(*) FILTER (role = {literal(REGISTRY)}) > 1
            OR count(*) > count(DISTINCT source_record_id)
        UNION
        SELECT one.cluster FROM parted JOIN member one ON one.mention_id = a
        JOIN member other ON other.mention_id = b AND other.cluster = one.cluster;
        SELECT a, b, weight = {DECIDED}, l.role = {literal(REGISTRY)}, r.role = {literal(REGISTRY)},
            l.source_record_id, r.source_record_id
        FROM kept JOIN member ON member.mention_id = a
        JOIN mention l ON l.mention_id = a JOIN mention r ON r.mention_id = b
        WHERE cluster IN (FROM broken) ORDER BY weight DESC, a, b
        """
    ).fetchall()
    connection.execute("DELETE FROM member WHERE cluster IN (FROM broken)")
    parted = connection.execute("FROM parted").fetchall()
    rebuilt = _strongest_first(broken, parted)
    again = pa.table(dict(zip(("mention_id", "cluster"), rebuilt, strict=True)))
    connection.register("again", again)
    connection.execute("INSERT INTO member FROM again")
    connection.unregister("again")
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE reason AS
        SELECT mention_id, CASE WHEN role = {literal(REGISTRY)} THEN 'register'
            WHEN is_decided THEN 'decision' WHEN best IS NULL THEN 'alone' ELSE 'model'
            END AS how,
            if(how = 'model', best, NULL) AS probability
        FROM mention LEFT JOIN (
            SELECT mention_id, max(probability) AS best, bool_or(weight = {DECIDED}) AS is_decided
            FROM (SELECT a AS mention_id, b AS other, probability, weight FROM kept
                UNION ALL SELECT b, a, probability, weight FROM kept)
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


def _strongest_first(
    links: list[tuple], parted: list[tuple[str, str]]
) -> tuple[list[str], list[str]]:
    """Mentions and the clusters that these links make: those that people decided, then the
    strongest first, none joining two residents of the registry, two people of one record, or two
    that people `parted`."""
    strangers: dict[str, set[str]] = {}
    for a, b in parted:
        strangers.setdefault(a, set()).add(b)
    group: dict[str, set[str]] = {}
    residents: dict[str, bool] = {}
    records: dict[str, set] = {}
    for a, b, is_decided, a_resident, b_resident, a_record, b_record in links:
        for one, is_resident, record in ((a, a_resident, a_record), (b, b_resident, b_record)):
            if one not in group:
                group[one], residents[one], records[one] = {one}, is_resident, {record}
        first, second = group[a], group[b]
        if first is second:
            continue
        x, y = min(first), min(second)
        may_not = (
            (residents[x] and residents[y])
            or records[x] & records[y]
            or any(strangers.get(one, set()) & second for one in first)
        )
        if may_not and not is_decided:
            continue
        joined = first | second
        name = min(joined)
        residents[name] = residents[x] or residents[y]
        records[name] = records[x] | records[y]
        for one in joined:
            group[one] = joined
    return list(group), [min(members) for members in group.values()]
