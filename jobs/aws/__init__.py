"""AWS Batch: what a run needs there (template.yaml), what is submitted, and how it is followed."""
