-- Two users for programs: key pairs alone, no password (TYPE = SERVICE). `lmdp snowflake keypair` makes the keys.
-- The setup role owns Firehose's user, so that it can change that user's keys, and nobody else's.
CREATE USER IF NOT EXISTS ${setup_user}
  TYPE = SERVICE
  DEFAULT_ROLE = ${setup_role}
  DEFAULT_WAREHOUSE = ${warehouse}
  COMMENT = 'lmdp: setup and verification';

CREATE USER IF NOT EXISTS ${firehose_user}
  TYPE = SERVICE
  DEFAULT_ROLE = ${firehose_role}
  COMMENT = 'lmdp: Firehose';

GRANT ROLE ${setup_role} TO USER ${setup_user};

GRANT ROLE ${firehose_role} TO USER ${firehose_user};

GRANT OWNERSHIP ON USER ${firehose_user} TO ROLE ${setup_role};
