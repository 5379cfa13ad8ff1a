"""The pure maths of data quality: what a site's facts say, and what stands out. Knows no clock, database or log."""
