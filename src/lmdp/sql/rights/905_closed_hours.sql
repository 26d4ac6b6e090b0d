-- Only when the retention became shorter.
ALTER DYNAMIC TABLE ${schema}.METRIC_HOURLY SET ${immutable_hours};

ALTER DYNAMIC TABLE ${schema}.METRIC_DAILY SET ${immutable_days};

ALTER DYNAMIC TABLE ${schema}.METRIC_RATES_HOURLY SET ${immutable_hours};
