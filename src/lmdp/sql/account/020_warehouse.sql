-- Two of the smallest warehouses; streaming ingest needs none. Readers, reports and checks have one, which its monitor
-- suspends when the month's credits are used up. Refreshes have their own, whose monitor only notifies: Snowflake
-- suspends a dynamic table after five refreshes that failed, and it stays so until somebody resumes it.
-- https://docs.snowflake.com/en/user-guide/dynamic-tables/manage
CREATE WAREHOUSE IF NOT EXISTS ${warehouse}
  WAREHOUSE_SIZE = XSMALL
  AUTO_SUSPEND = 60
  AUTO_RESUME = TRUE
  INITIALLY_SUSPENDED = TRUE;

CREATE WAREHOUSE IF NOT EXISTS ${refresh_warehouse}
  WAREHOUSE_SIZE = XSMALL
  AUTO_SUSPEND = 60
  AUTO_RESUME = TRUE
  INITIALLY_SUSPENDED = TRUE;

CREATE RESOURCE MONITOR IF NOT EXISTS ${warehouse}_MONITOR WITH
  CREDIT_QUOTA = ${credit_quota}
  FREQUENCY = MONTHLY
  START_TIMESTAMP = IMMEDIATELY
  TRIGGERS ON 80 PERCENT DO NOTIFY ON 100 PERCENT DO SUSPEND;

ALTER RESOURCE MONITOR ${warehouse}_MONITOR SET CREDIT_QUOTA = ${credit_quota};

CREATE RESOURCE MONITOR IF NOT EXISTS ${refresh_warehouse}_MONITOR WITH
  CREDIT_QUOTA = ${refresh_credit_quota}
  FREQUENCY = MONTHLY
  START_TIMESTAMP = IMMEDIATELY
  TRIGGERS ON 80 PERCENT DO NOTIFY ON 100 PERCENT DO NOTIFY;

ALTER RESOURCE MONITOR ${refresh_warehouse}_MONITOR SET CREDIT_QUOTA = ${refresh_credit_quota};

ALTER WAREHOUSE ${warehouse} SET RESOURCE_MONITOR = ${warehouse}_MONITOR;

ALTER WAREHOUSE ${refresh_warehouse} SET RESOURCE_MONITOR = ${refresh_warehouse}_MONITOR;

GRANT USAGE, OPERATE ON WAREHOUSE ${warehouse} TO ROLE ${setup_role};

GRANT USAGE, OPERATE ON WAREHOUSE ${refresh_warehouse} TO ROLE ${setup_role};

GRANT USAGE ON WAREHOUSE ${warehouse} TO ROLE ${reader_role};
