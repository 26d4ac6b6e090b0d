-- How long a suspended roll-up can still resume: changes of what it reads are kept so long. On Standard Edition a day is
-- the most, and the setup leaves it at that.
ALTER TABLE ${schema}.ROW_EVENTS SET DATA_RETENTION_TIME_IN_DAYS = 7 MAX_DATA_EXTENSION_TIME_IN_DAYS = 14;
