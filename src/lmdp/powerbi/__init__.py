"""The Power BI project (PBIP): a semantic model in TMDL and a report in PBIR, over the warehouse's views."""
