"""The batch job: it runs a detector artifact over the images of a bucket and publishes their boxes."""
