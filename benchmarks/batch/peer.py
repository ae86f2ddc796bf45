"""Run the loop that a user would write first: get an object, decode it, ask torchvision, put the boxes.

    python -m benchmarks.batch.peer s3://BUCKET/PREFIX s3://BUCKET/PREFIX COUNT

The images come one after another. The network has random weights: they find next to nothing, but a trained network is
no faster. Prints the number of images and the seconds of the loop, without imports and start-up, as JSON.
"""

from __future__ import annotations

import io
import json
import sys
import time

import boto3
import torch
from PIL import Image
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn
from torchvision.transforms.functional import to_tensor


def main(source: str, output: str, count: int) -> None:
    """Run the loop over the first `count` images below `source`."""
    bucket, _, prefix = source.removeprefix("s3://").partition("/")
    to_bucket, _, to_prefix = output.removeprefix("s3://").partition("/")
    client = boto3.client("s3")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [item["Key"] for page in pages for item in page["Contents"]][:count]
    model = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None).eval()
    with torch.inference_mode():
        model([torch.zeros(3, 300, 400)])
        start = time.perf_counter()
        for key in keys:
            body = client.get_object(Bucket=bucket, Key=key)["Body"].read()
            image = Image.open(io.BytesIO(body)).convert("RGB")
            (found,) = model([to_tensor(image)])
            boxes = {name: values.tolist() for name, values in found.items()}
            client.put_object(Bucket=to_bucket, Key=f"{to_prefix}/{key}.json", Body=json.dumps(boxes).encode())
    print(json.dumps({"images": len(keys), "seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"), sys.argv[2].rstrip("/"), int(sys.argv[3]))
