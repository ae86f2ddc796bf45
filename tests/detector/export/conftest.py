"""The fixtures of networks, which the tests of the exporter share with those of the models."""

from tests.detector.model.conftest import *  # noqa: F403
