-- Only with SNOWFLAKE_ALLOWED_IPS. The setup user alone: Firehose has no addresses of its own, and a policy on its user,
-- or one on the account without AWS's ranges, ends the delivery.
-- https://docs.aws.amazon.com/firehose/latest/dev/controlling-access.html
CREATE NETWORK POLICY IF NOT EXISTS ${setup_user}_POLICY ALLOWED_IP_LIST = (${allowed_ips});

ALTER NETWORK POLICY ${setup_user}_POLICY SET ALLOWED_IP_LIST = (${allowed_ips});

ALTER USER ${setup_user} SET NETWORK_POLICY = ${setup_user}_POLICY;
