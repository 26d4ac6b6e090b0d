"""Names that the tests of the AWS half agree on."""

STREAM = "metrics"
LOADER = "lmdp-test/snowflake-loader"
BUCKET = "lmdp-errors"
REGION = "eu-west-1"
SECRET = "an-example-secret-access-key"  # pragma: allowlist secret
