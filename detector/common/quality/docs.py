"""Great Expectations' Data Docs: pages that show every rule of a judged run, all batches taken together."""

from __future__ import annotations

import html
from collections.abc import Container, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from detector.common.quality.engine import Engine
from detector.common.quality.judge import Finding, Judge, Outcome

# The tutorial's pictures and the glossary's: 3 MB that no page of ours shows.
_UNUSED = ("*.gif", "iterative-dev-loop.png")
_THEIR_IMAGES = "https://great-expectations-web-assets.s3.us-east-2.amazonaws.com/"
_PUBLIC = "https: 'self' 'unsafe-inline'"
_POLICY = (
    "default-src 'none'; img-src 'self' data:; connect-src 'none'; form-action 'none'; "
    f"style-src {_PUBLIC}; font-src {_PUBLIC}; script-src {_PUBLIC}"
)


def write_docs(
    engine: Engine,
    judges: Sequence[Judge],
    name: str,
    asset: str,
    time: datetime,
    folder: Path,
    skipped: Container[str] = (),
) -> None:
    """Write the pages into `folder`: index.html and one page for all of `judges`, named `name`, of what `asset` names.

    skipped: rules that could not be judged, which are left out. `time` names the page's file: the same one for the same
    run, so that judging again replaces it. Texts that come from a bucket are escaped here, because the pages show them
    as they are given.
    """
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    context = engine.context
    shown = [
        (judge.findings[rule], outcome)
        for judge in judges
        for rule, outcomes in judge.outcomes.items()
        for outcome in outcomes
        if rule not in skipped
    ]
    results = [_result(outcome, finding) for finding, outcome in shown]
    suite = _suite(engine, [outcome for _, outcome in shown], name)
    kept = sum(result.success for result in results)
    context.validation_results_store.set(
        ValidationResultIdentifier(
            expectation_suite_identifier=ExpectationSuiteIdentifier(suite.name),
            run_id=RunIdentifier(run_name=name, run_time=time),
            batch_identifier="all",
        ),
        ExpectationSuiteValidationResult(
            # What only warns leaves the whole a success.
            success=all(outcome.success or finding.rule.severity == "warn" for finding, outcome in shown),
            results=results,
            suite_name=suite.name,
            suite_parameters={},
            meta={
                "great_expectations_version": version("great-expectations"),
                "run_id": {"run_name": name, "run_time": time.isoformat()},
                "active_batch_definition": {"data_asset_name": html.escape(asset)},
            },
            statistics={
                "evaluated_expectations": len(results),
                "successful_expectations": kept,
                "unsuccessful_expectations": len(results) - kept,
                "success_percent": 100 * kept / len(results) if results else None,
            },
        ),
    )
    for judge in judges:
        context.suites.delete(judge.table)
    context.add_data_docs_site(
        "rules",
        {
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)},
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        },
    )
    context.build_data_docs()
    for pattern in _UNUSED:
        for path in folder.rglob(pattern):
            path.unlink()
    for path in folder.rglob("*.html"):
        _keep_to_itself(path, len(path.relative_to(folder).parts) - 1)


def _keep_to_itself(page: Path, depth: int) -> None:
    """Let a page take its style and its tables' scripts from public servers, but tell nobody anything: no picture from
    the makers' server, which would count its readers, and no requests of the scripts' own."""
    text = page.read_text("utf-8").replace(_THEIR_IMAGES, "../" * depth + "static/images/")
    page.write_text(
        text.replace("<head>", f'<head>\n<meta http-equiv="Content-Security-Policy" content="{_POLICY}">', 1)
    )


def _suite(engine: Engine, outcomes: Sequence[Outcome], name: str) -> Any:
    """All tables' expectations as one suite, so that they stand on one page."""
    from great_expectations import ExpectationSuite

    suite = engine.context.suites.add(ExpectationSuite(name))
    for outcome in outcomes:
        suite.add_expectation_configuration(_escaped(outcome.config))
    return suite


def _result(outcome: Outcome, finding: Finding) -> Any:
    """Great Expectations' result of one expectation over all batches."""
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult

    examples = [] if outcome.success else [html.escape(example) for example in finding.examples]
    present = outcome.elements - outcome.missing
    percent = 100 * outcome.unexpected / present if present else 0.0
    return ExpectationValidationResult(
        success=outcome.success,
        expectation_config=_escaped(outcome.config),
        result={
            "element_count": outcome.elements,
            "unexpected_count": outcome.unexpected,
            "unexpected_percent": percent,
            "unexpected_percent_nonmissing": percent,
            "unexpected_percent_total": 100 * outcome.unexpected / outcome.elements if outcome.elements else 0.0,
            "missing_count": outcome.missing,
            "missing_percent": 100 * outcome.missing / outcome.elements if outcome.elements else 0.0,
            "partial_unexpected_list": examples,
        },
        exception_info={"raised_exception": False, "exception_message": None, "exception_traceback": None},
    )


def _escaped(config: Any) -> Any:
    """The expectation with every text made harmless in a page."""
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    return ExpectationConfiguration(
        type=config.type,
        kwargs={key: _harmless(value) for key, value in config.kwargs.items() if key != "batch_id"},
        meta=config.meta,
        description=_harmless(config.description),
        severity=config.severity,
    )


def _harmless(value: Any) -> Any:
    if isinstance(value, str):
        return html.escape(value)
    return [_harmless(item) for item in value] if isinstance(value, list | tuple) else value
