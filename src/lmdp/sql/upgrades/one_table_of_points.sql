-- Tables of the version before that are another kind now, and are computed again. Run once, and never on an empty schema.
DROP DYNAMIC TABLE IF EXISTS ${schema}.METRIC_LATEST;

DROP DYNAMIC TABLE IF EXISTS ${schema}.DIM_DEVICE;

DROP DYNAMIC TABLE IF EXISTS ${schema}.DIM_DATASOURCE;

DROP DYNAMIC TABLE IF EXISTS ${schema}.DIM_METRIC;

DROP DYNAMIC TABLE IF EXISTS ${schema}.DIM_INSTANCE;

DROP DYNAMIC TABLE IF EXISTS ${schema}.DEVICE_HOURS;
