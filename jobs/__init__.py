"""The batch job: a detector artifact over a bucket of images, to published box manifests."""
