"""The rehearsal: docs/deploy.md against an emulated AWS and a Snowflake double, from bootstrap to destroy and back."""
