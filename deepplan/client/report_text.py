"""A report as text for a terminal."""

from __future__ import annotations

from deepplan.client.report import Report, Summary
from deepplan.planning.table import text_table

_COLUMNS = ("requests", "refused", "failed", "mean ms", "p50 ms", "p99 ms", "p99.9 ms", "goodput %", "cold %")


def report_text(report: Report) -> str:
    """What `print(report)` shows: rates, one row for each model and all of them, one for each minute, and failures."""
    objective = "any answer" if report.objective_ms is None else f"answers within {report.objective_ms:g} ms"
    lines = [
        f"{report.workload or 'workload'}, {report.source}",
        f"offered {report.offered_per_s:.1f} requests/s for {report.duration_ms / 1e3:g} s, "
        f"answered {report.achieved_per_s:.1f}/s; goodput counts {objective}",
    ]
    if report.send_lag_p99_ms is not None:
        lines.append(f"sent late by {report.send_lag_p99_ms:.2f} ms (p99), which latencies include")
    queue_ms, run_ms = report.total.queue_p99_ms, report.total.run_p99_ms
    if queue_ms is not None and run_ms is not None:
        lines.append(f"the server says: {queue_ms:.2f} ms queued (p99), {run_ms:.2f} ms run (p99)")
    rows: list[tuple[str, ...]] = [("model", "instances", *_COLUMNS)]
    rows.extend((each.model, str(each.instances), *_row(each.summary)) for each in report.models)
    if len(report.models) != 1:
        rows.append(("all", str(sum(each.instances for each in report.models)), *_row(report.total)))
    lines += ["", text_table(rows, left=(0,))]
    if report.minutes:
        by_minute = [("minute", *_COLUMNS), *((str(each.minute), *_row(each.summary)) for each in report.minutes)]
        lines += ["", text_table(by_minute, left=())]
    if report.failures:
        lines += ["", *(f"{failure.count} failed: {failure.reason}" for failure in report.failures)]
    return "\n".join(lines)


def _row(summary: Summary) -> tuple[str, ...]:
    latencies_ms = (summary.mean_ms, summary.p50_ms, summary.p99_ms, summary.p999_ms)
    return (
        str(summary.requests),
        str(summary.refused),
        str(summary.failed),
        *("-" if value is None else f"{value:.2f}" for value in latencies_ms),
        *("-" if share is None else f"{100 * share:.2f}" for share in (summary.goodput, summary.cold_rate)),
    )
