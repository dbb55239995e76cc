#!/usr/bin/python3
# Forgets how far the second tier has read the journal, so that it counts the
# bans from before this start too. Its own bans are not touched: those in force
# are restored, those that have ended and are old stay ended.
import os
import sqlite3

database = "/var/lib/fail2ban/fail2ban.sqlite3"
if os.path.exists(database):
    db = sqlite3.connect(database)
    with db:
        if db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'logs'").fetchone():
            db.execute("DELETE FROM logs WHERE jail = 'recidive'")
    db.close()
