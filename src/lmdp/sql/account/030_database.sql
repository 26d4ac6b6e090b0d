-- The setup role owns database and schema. FUTURE grants keep a view readable that was replaced a moment ago.
CREATE DATABASE IF NOT EXISTS ${database};

CREATE SCHEMA IF NOT EXISTS ${schema};

GRANT OWNERSHIP ON DATABASE ${database} TO ROLE ${setup_role} COPY CURRENT GRANTS;

GRANT OWNERSHIP ON SCHEMA ${schema} TO ROLE ${setup_role} COPY CURRENT GRANTS;

GRANT USAGE ON DATABASE ${database} TO ROLE ${firehose_role};

GRANT USAGE ON SCHEMA ${schema} TO ROLE ${firehose_role};

GRANT USAGE ON DATABASE ${database} TO ROLE ${reader_role};

GRANT USAGE ON SCHEMA ${schema} TO ROLE ${reader_role};

GRANT SELECT ON FUTURE VIEWS IN SCHEMA ${schema} TO ROLE ${reader_role};

GRANT SELECT ON FUTURE DYNAMIC TABLES IN SCHEMA ${schema} TO ROLE ${reader_role};

GRANT EXECUTE TASK ON ACCOUNT TO ROLE ${setup_role};
