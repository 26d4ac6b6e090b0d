"""Names that the tests of the AWS half agree on."""

STREAM = "metrics"
BUCKET = "lmdp-errors"
REGION = "eu-west-1"
SECRET = "an-example-secret-access-key"  # pragma: allowlist secret
