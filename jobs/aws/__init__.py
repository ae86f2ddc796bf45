"""Runs on AWS Batch: the resources that they need (template.yaml), and the jobs that are submitted and watched."""
