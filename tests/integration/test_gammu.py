"""Gammu's own table on a real MariaDB, as its documentation creates it (SMSD schema 17)."""

import sqlalchemy as sa

from pipeline.sync import sync
from tests.inbox import Inbox, sms

SCHEMA = """
CREATE TABLE inbox (
  UpdatedInDB timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  ReceivingDateTime timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  Text text NOT NULL,
  SenderNumber varchar(20) NOT NULL DEFAULT '',
  Coding enum('Default_No_Compression','Unicode_No_Compression','8bit',
    'Default_Compression','Unicode_Compression') NOT NULL DEFAULT 'Default_No_Compression',
  UDH text NOT NULL,
  SMSCNumber varchar(20) NOT NULL DEFAULT '',
  Class integer NOT NULL DEFAULT '-1',
  TextDecoded text NOT NULL,
  ID integer unsigned NOT NULL auto_increment,
  RecipientID text NOT NULL,
  Processed enum('false','true') NOT NULL DEFAULT 'false',
  Status integer NOT NULL DEFAULT '-1',
  PRIMARY KEY ID (ID)
) DEFAULT CHARSET=utf8mb4 AUTO_INCREMENT=1
"""
ROWS = [
    sms(1, "LAPOR#Kesambi#Lampu “padam” di "), sms(2, "lapor Sampah di ", udh="050003CC0201"),
    sms(3, "pasar", udh="050003CC0202"),
]  # fmt: skip


def test_gammus_table_on_mariadb_gives_what_the_embedded_one_gives(mariadb_server, tmp_path):
    url = mariadb_server.create_database("gammu")
    with sa.create_engine(url).begin() as connection:
        connection.exec_driver_sql(SCHEMA)
        connection.exec_driver_sql(
            "INSERT INTO inbox (ID, TextDecoded, SenderNumber, ReceivingDateTime, UDH, Text, "
            "RecipientID) VALUES (%s, %s, %s, %s, %s, '', '')",
            ROWS,
        )
    inbox, embedded = Inbox(tmp_path / "a"), Inbox(tmp_path / "b")
    account = sync(inbox.settings, inbox.source, inbox.source.stream("sms"), lambda _: url)
    embedded.sms(*ROWS)
    embedded.sync("sms")
    assert account.inserted == len(ROWS)
    assert inbox.groups() == embedded.groups()
    assert inbox.groups() == {
        frozenset({"sms: Lampu “padam” di "}), frozenset({"sms: Sampah di pasar"}),
    }  # fmt: skip
    with sa.create_engine(url).begin() as connection:
        connection.exec_driver_sql("UPDATE inbox SET Processed = 'true'")
    again = sync(inbox.settings, inbox.source, inbox.source.stream("sms"), lambda _: url)
    assert again.unchanged == len(ROWS)
