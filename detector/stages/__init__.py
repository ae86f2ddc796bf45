"""The five stages of the pipeline: each reads, calls one pure function, and writes."""
