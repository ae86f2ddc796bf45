"""Rules over tables, judged by Great Expectations: used for the annotations of a training and the records of a run."""
