-- The smallest warehouse, for roll-ups, checks and reports; streaming ingest needs none. The monitor stops it when the
-- month's credits are used up.
CREATE WAREHOUSE IF NOT EXISTS ${warehouse}
  WAREHOUSE_SIZE = XSMALL
  AUTO_SUSPEND = 60
  AUTO_RESUME = TRUE
  INITIALLY_SUSPENDED = TRUE;

CREATE RESOURCE MONITOR IF NOT EXISTS ${warehouse}_MONITOR WITH
  CREDIT_QUOTA = ${credit_quota}
  FREQUENCY = MONTHLY
  START_TIMESTAMP = IMMEDIATELY
  TRIGGERS ON 80 PERCENT DO NOTIFY ON 100 PERCENT DO SUSPEND;

ALTER WAREHOUSE ${warehouse} SET RESOURCE_MONITOR = ${warehouse}_MONITOR;

GRANT USAGE, OPERATE ON WAREHOUSE ${warehouse} TO ROLE ${setup_role};

GRANT USAGE ON WAREHOUSE ${warehouse} TO ROLE ${reader_role};
