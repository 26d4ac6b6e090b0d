-- The roll-ups that are made once follow the setting, too.
ALTER DYNAMIC TABLE ${schema}.METRIC_HOURLY SET TARGET_LAG = '${target_lag}' WAREHOUSE = ${warehouse};

ALTER DYNAMIC TABLE ${schema}.METRIC_DAILY SET TARGET_LAG = '${target_lag}' WAREHOUSE = ${warehouse};

ALTER DYNAMIC TABLE ${schema}.METRIC_RATES_HOURLY SET TARGET_LAG = '${target_lag}' WAREHOUSE = ${warehouse};
