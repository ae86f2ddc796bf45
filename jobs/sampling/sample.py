"""Draws a sample of a published run, and shows the drawn images as a run of their own."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import UsageError
from jobs.formats import DrawnImage, EarlierSample, Record, Sample, Stratum, parse, sha256
from jobs.published_run import PublishedRun
from jobs.sampling.draw import draw
from jobs.sampling.drift import by_drift
from jobs.sampling.strata import Strata, by_doubt, by_label, random

# What --by takes, from the run and, for drift, the run that it is compared with.
WAYS: dict[str, Callable[[PublishedRun, PublishedRun | None], Strata]] = {
    "random": lambda run, _: random(run),
    "label": lambda run, _: by_label(run),
    "doubtful": lambda run, _: by_doubt(run),
    "drift": by_drift,
}


@dataclass(frozen=True)
class EarlierRound:
    """An earlier round, and the SHA-256 of its sample.json."""

    sample: Sample
    digest: str


def read_earlier(run: PublishedRun, paths: Sequence[Path]) -> list[EarlierRound]:
    """The earlier rounds in these files; raises UsageError when a file is none, is of images of another INPUT than the
    run, or was drawn after a round that is not among them."""
    rounds = []
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UsageError(f"--earlier {path}: cannot be read: {error.strerror}; name a sample.json") from error
        sample = parse(Sample, data, f"--earlier {path}", "a sample.json", "name a file that boxcar sample has written")
        inputs = (sample.input, run.manifest.input)
        if not inputs[0].startswith(inputs[1]) and not inputs[1].startswith(inputs[0]):
            raise UsageError(
                f"--earlier {path}: is of images in {inputs[0]}, and this run is of {inputs[1]}; leave it out"
            )
        rounds.append(EarlierRound(sample, sha256(data)))
    given = {earlier.digest for earlier in rounds}
    for path, earlier in zip(paths, rounds, strict=True):
        for before in earlier.sample.earlier:
            if before.sha256 not in given:
                raise UsageError(
                    f"--earlier {path}: was drawn after a sample of run {before.run} with sha256 {before.sha256}; "
                    "give that sample.json with --earlier too"
                )
    return rounds


def draw_sample(
    run: PublishedRun,
    count: int,
    by: str,
    seed: int,
    earlier: Sequence[EarlierRound] = (),
    reference: PublishedRun | None = None,
) -> Sample:
    """Draw `count` images with status ok that are in no earlier round, or all if there are fewer; by: a key of WAYS;
    reference: the run that drift is measured from, in place of the artifact's baseline.

    An image is a URI with an ETag. Raises UsageError when no image is left, and what `PublishedRun.records` and the way
    to draw raise.
    """
    strata = WAYS[by](run, reference)
    drawn_before = {(image.image, image.etag) for before in earlier for image in before.sample.images}
    population, left = 0, 0

    def items() -> Iterator[tuple[str, str, str | None]]:
        nonlocal population, left
        for record in run.records():
            if record.status == "ok":
                population += 1
                if (record.image, record.etag) not in drawn_before:
                    left += 1
                    yield record.image, strata.of(record), record.etag

    # After a round with the same seed, the images that it left have high ranks, higher in a stratum of which it took
    # more. Earlier rounds change the ranks, so that this round is a draw of its own.
    ranks = " ".join([str(seed), *sorted(before.digest for before in earlier)])
    found = draw(items(), count, ranks, strata.emphasis)
    if not left:
        raise UsageError(
            f"{run.store.uri}: no image is left to draw: {population:,} are ok, and all were drawn in earlier rounds"
        )
    images = [
        DrawnImage(
            image=image, etag=etag, stratum=stratum.name, probability=len(stratum.drawn) / stratum.size, left_out=None
        )
        for stratum in found
        for image, etag in stratum.drawn.items()
    ]
    return Sample(
        run=run.manifest.run,
        manifest_sha256=run.digest,
        input=run.manifest.input,
        by=by,
        reference=None if reference is None else reference.digest,
        seed=seed,
        count=count,
        population=population,
        excluded=population - left,
        for_estimates=left == population and all(stratum.drawn for stratum in found),
        strata=[Stratum(name=stratum.name, images=stratum.size, drawn=len(stratum.drawn)) for stratum in found],
        images=sorted(images, key=lambda image: image.image.encode()),
        earlier=[EarlierSample(run=before.sample.run, sha256=before.digest) for before in earlier],
    )


@dataclass(frozen=True)
class SampledRun(PublishedRun):
    """A published run of which only some images are seen, for the converters."""

    images: frozenset[str]

    @classmethod
    def of(cls, run: PublishedRun, sample: Sample) -> SampledRun:
        """The drawn images of a run, without those that could not be copied."""
        images = frozenset(image.image for image in sample.images if image.left_out is None)
        counts = {"images": len(images), "statuses": {"ok": len(images)}}
        return cls(run.store, run.manifest.model_copy(update=counts), run.digest, images)

    def records(self) -> Generator[Record]:
        """The records of these images, as `PublishedRun.records` gives them."""
        return (record for record in super().records() if record.image in self.images)
