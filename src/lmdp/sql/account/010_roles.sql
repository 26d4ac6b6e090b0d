-- Pasted once by an ACCOUNTADMIN. Three roles: the owner of the schema, Firehose's (insert, nothing else), readers'.
USE ROLE ACCOUNTADMIN;

CREATE ROLE IF NOT EXISTS ${setup_role} COMMENT = 'lmdp: owns ${schema}';

CREATE ROLE IF NOT EXISTS ${firehose_role} COMMENT = 'lmdp: inserts into ${schema}.ROW_EVENTS';

CREATE ROLE IF NOT EXISTS ${reader_role} COMMENT = 'lmdp: reads ${schema}';

GRANT ROLE ${setup_role} TO ROLE SYSADMIN;

GRANT ROLE ${reader_role} TO ROLE SYSADMIN;
