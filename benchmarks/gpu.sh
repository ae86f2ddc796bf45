#!/bin/sh
# Measures the job and a training on a machine with a GPU, in some eight minutes, without a network. Each row is printed
# when it is measured.
#
#   benchmarks/gpu.sh FOLDER [YOLOX.onnx]
#
# FOLDER holds photographs. DEVICE=cpu tries the script on a machine without a GPU. If build/dataset is there, the
# recipe of settings/shipped.yaml is trained and measured too: only this needs DVC and data/weights/yolox_nano.onnx
# (docs/backbones.md), and nothing needs Great Expectations.
set -eu
photos=$1
device=${DEVICE:-cuda}
images=${IMAGES:-4000}
python -m benchmarks.device detector/artifacts/voc20 --photos "$photos" --device "$device" --images "$images"
if [ $# -gt 1 ]; then
  python -m detector.cli import "$2" --out build/gpu/yolox --classes coco --batch
  python -m benchmarks.device build/gpu/yolox --photos "$photos" --device "$device" --images "$images"
fi
python -m benchmarks.loading --device "$device" --images "${TRAINING_IMAGES:-512}"
if [ -d build/dataset ]; then
  # Stages read and write below the folder in which they run: the project's own results stay.
  mkdir -p build/gpu/recipe/build build/gpu/recipe/data
  ln -sfn "$PWD/data/weights" build/gpu/recipe/data/weights
  cp settings/shipped.yaml build/gpu/recipe/params.yaml
  ln -sfn "$PWD/build/dataset" build/gpu/recipe/build/dataset
  PYTHONPATH=$PWD
  export PYTHONPATH
  cd build/gpu/recipe
  start=$(date +%s)
  for stage in propose train; do python -m detector.cli "$stage"; done
  echo "trained in $(($(date +%s) - start)) s"
  python -m detector.cli evaluate --device "$device"
  grep map_ build/evaluation/metrics.json
fi
