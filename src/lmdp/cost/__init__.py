"""The cost of a load in a month, on AWS and in Snowflake: arithmetic over dated prices, each step of it shown."""
