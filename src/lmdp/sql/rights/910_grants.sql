-- What the owner gives: Firehose may insert into the one table, readers may read it, and every view and roll-up.
GRANT INSERT ON TABLE ${schema}.ROW_EVENTS TO ROLE ${firehose_role};

GRANT SELECT ON TABLE ${schema}.ROW_EVENTS TO ROLE ${reader_role};

GRANT SELECT ON ALL VIEWS IN SCHEMA ${schema} TO ROLE ${reader_role};

GRANT SELECT ON ALL DYNAMIC TABLES IN SCHEMA ${schema} TO ROLE ${reader_role};
