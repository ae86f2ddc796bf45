"""Rules over tables, judged by Great Expectations: shared by the way in (annotations) and the way out (records)."""
