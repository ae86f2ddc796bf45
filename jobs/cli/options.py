"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from detector.runtime.devices import DEVICES
from detector.runtime.tiling import LEAST_SIDE, MOST_OVERLAP
from jobs.rules.policy import DEFAULT_MAX_FAILED, DEFAULT_PREFIX_DEPTH, DRIFT_RULES, Policy

# A part takes two cores about a minute: little is lost in a kill, and ten million images make 20,000 parts.
DEFAULT_PART_SIZE = 500

Command = TypeVar("Command", bound=Callable[..., Any])


class Share(click.FloatRange):
    """A number from 0 to `most`. click's own range would accept NaN."""

    def __init__(self, most: float = 1) -> None:
        super().__init__(0, most)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; a value that is none ends the command."""
        number: float = super().convert(value, param, ctx)
        if number != number:
            self.fail(f"{value} is not a number from 0 to {self.max:g}", param, ctx)
        return number


def _with_options(command: Callable[..., Any], *options: Callable[..., Any]) -> Any:
    """The command with these options, which its help lists in this order."""
    for option in reversed(options):
        command = option(command)
    return command


model_option = click.option(
    "--model",
    metavar="ARTIFACT",
    help="Folder or s3:// prefix with model.onnx and model.json, or REPO:REV, the artifact of a DVC project at a "
    "revision.  [default: the shipped one, for the 20 classes of PASCAL VOC]",
)


def _extensions(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    names = [] if value is None else [name.strip().removeprefix(".").lower() for name in value.split(",")]
    if names != ["*"] and any(not name or set(name) & set("./*") for name in names):
        raise click.BadParameter(
            "takes what follows the last dot of a name, separated by commas, as in jpg,png; or * alone for every object"
        )
    return tuple(names)


def plan_options(command: Command) -> Any:
    """Adds the options that a plan depends on. The command gets them together, in a dictionary `chosen`."""

    @functools.wraps(command)
    def collected(*arguments: Any, **options: Any) -> Any:
        from jobs.formats import Filters, PlanOptions

        names = PlanOptions.model_fields.keys() | Filters.model_fields.keys()
        chosen = {name: options.pop(name) for name in names & options.keys()}
        return command(*arguments, chosen=chosen, **options)

    return _plan_option_list(collected)


def _plan_option_list(command: Callable[..., Any]) -> Any:
    return _with_options(
        command,
        model_option,
        click.option(
            "--min-score",
            type=Share(),
            help="Keep boxes with at least this score.  [default: the artifact's operating score]",
        ),
        click.option(
            "--tile",
            type=click.IntRange(min=LEAST_SIDE),
            metavar="SIDE",
            help="Look at tiles of SIDE x SIDE pixels as well, for small objects in images that are larger.",
        ),
        click.option(
            "--overlap",
            type=Share(MOST_OVERLAP),
            metavar="SHARE",
            help="Share of SIDE that neighbouring tiles have in common at least, 0 to 0.5.  [default: 0.2]",
        ),
        click.option(
            "--part-size",
            type=click.IntRange(min=1),
            default=DEFAULT_PART_SIZE,
            show_default=True,
            help="Images in a part, which is the unit of work and of retry.",
        ),
        click.option(
            "--include",
            multiple=True,
            metavar="GLOB",
            help="Plan only images whose key below INPUT matches; * crosses /. Repeatable.",
        ),
        click.option(
            "--exclude",
            multiple=True,
            metavar="GLOB",
            help="Leave out images whose key below INPUT matches; * crosses /. Repeatable.",
        ),
        click.option(
            "--extensions",
            metavar="LIST",
            callback=_extensions,
            help="Extensions of images, separated by commas, any case; '*' plans every object, with or without one.  "
            "[default: bmp,gif,jfif,jpe,jpeg,jpg,png,tif,tiff,webp]",
        ),
        click.option(
            "--hidden",
            is_flag=True,
            help="Plan also images below INPUT whose name, or a folder's name, begins with a dot or is __MACOSX.",
        ),
        click.option(
            "--limit",
            type=click.IntRange(min=1),
            metavar="N",
            help="Plan only N of the images, chosen at random but always the same: a trial, with an OUTPUT of its own.",
        ),
        access_options,
        click.option(
            "--inventory",
            metavar="URI",
            help="Read INPUT's keys from this S3 Inventory manifest.json (CSV or Parquet), in place of listing it.",
        ),
        click.option(
            "--since",
            metavar="PREVIOUS",
            help="Copy the records of images that have not changed since this run: its OUTPUT, or a latest.json.",
        ),
        click.option(
            "--redo",
            multiple=True,
            metavar="STATUS",
            help="With --since: compute images again whose record has this status, for example unreadable. Repeatable.",
        ),
        click.option(
            "--dry-run",
            is_flag=True,
            help="Show what would be read and written, from the listing alone; write nothing.",
        ),
    )


def access_options(command: Command) -> Any:
    """Adds the options that say how INPUT is read."""
    return _with_options(
        command,
        click.option("--request-payer", is_flag=True, help="Pay for reading INPUT, if its bucket demands it."),
        click.option("--no-sign-request", is_flag=True, help="Read INPUT, a public bucket, without credentials."),
    )


def machine_options(command: Command) -> Command:
    command = click.option(
        "--processes",
        type=click.IntRange(min=1),
        help="Processes that share the threads.  [default: one for every 6 threads]",
    )(command)
    command = click.option(
        "--device",
        type=click.Choice(DEVICES),
        default="auto",
        show_default=True,
        help="Where the detector runs; auto: on a GPU where ONNX Runtime can use one.",
    )(command)
    return click.option(
        "--threads", type=click.IntRange(min=1), help="Images computed at once.  [default: the number of cores]"
    )(command)


def policy_options(command: Command) -> Any:
    """Adds the options that decide the verdict. The command gets them together, as `policy`."""

    @functools.wraps(command)
    def collected(
        *arguments: Any, max_failed: float, strict: tuple[str, ...], prefix_depth: int, **options: Any
    ) -> Any:
        policy = Policy(max_failed, tuple(sorted(set(strict))), prefix_depth)
        return command(*arguments, policy=policy, **options)

    rejecting: Callable[..., Any] = click.option(
        "--strict",
        type=click.Choice(DRIFT_RULES),
        multiple=True,
        help="Reject the run when this rule is broken; without the option it only warns. Repeatable.",
    )(collected)
    by_prefix: Callable[..., Any] = click.option(
        "--prefix-depth",
        type=click.IntRange(min=0),
        metavar="N",
        default=DEFAULT_PREFIX_DEPTH,
        show_default=True,
        help="Judge drift also by prefix, the first N folders of a key below INPUT; 0: only of the whole run.",
    )(rejecting)
    return click.option(
        "--max-failed",
        type=Share(),
        default=DEFAULT_MAX_FAILED,
        show_default=True,
        help="Share of images that may fail before the run is rejected.",
    )(by_prefix)


def _json_uri(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not value.endswith(".json"):
        raise click.BadParameter("names the file to write: it must end with .json, as in s3://boxes/latest.json")
    return value


def latest_option(command: Command) -> Command:
    return click.option(
        "--latest",
        metavar="URI",
        callback=_json_uri,
        help="When the run is valid, let this file name its manifest. It stays as it is for a run that is rejected, "
        "has no images, or was planned before the run that it names.",
    )(command)
