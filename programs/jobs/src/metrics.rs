//! [`text`]: the counts, in the text form of Prometheus.

use std::fmt::{Display, Write};

use brigade::pool::JobStatus;

use crate::app::App;
use crate::http::Stats;

/// Writes all metrics.
pub(crate) fn text(app: &App, stats: Option<&Stats>) -> String {
    let mut out = String::new();
    let account = app.account();
    head(&mut out, "jobs_accepted_total", "counter", "Jobs that the pool has accepted in this process.");
    line(&mut out, "jobs_accepted_total", account.accepted);
    head(&mut out, "jobs_refused_total", "counter", "Jobs that were refused, by the reason that the response names.");
    for (reason, count) in app.refusals() {
        line(&mut out, &format!("jobs_refused_total{{reason=\"{reason}\"}}"), count);
    }
    head(&mut out, "jobs_ended_total", "counter", "Accepted jobs that have ended, by how.");
    for status in JobStatus::ALL.into_iter().filter(|status| status.has_ended()) {
        line(&mut out, &format!("jobs_ended_total{{status=\"{status}\"}}"), account.jobs[status]);
    }
    head(&mut out, "jobs_pending", "gauge", "Accepted jobs that wait.");
    line(&mut out, "jobs_pending", account.jobs[JobStatus::Pending]);
    head(&mut out, "jobs_running", "gauge", "Accepted jobs that run.");
    line(&mut out, "jobs_running", account.jobs[JobStatus::Running]);
    head(&mut out, "jobs_workers", "gauge", "Threads that run jobs.");
    line(&mut out, "jobs_workers", account.workers);
    head(&mut out, "jobs_workers_busy", "gauge", "Those of them that run one.");
    line(&mut out, "jobs_workers_busy", account.busy);
    head(&mut out, "jobs_oldest_pending_seconds", "gauge", "For how long the oldest pending job has waited.");
    line(&mut out, "jobs_oldest_pending_seconds", account.oldest.unwrap_or_default().as_secs_f64());
    let (known, bytes) = app.registry().size();
    head(&mut out, "jobs_known", "gauge", "Jobs that can be asked for.");
    line(&mut out, "jobs_known", known);
    head(&mut out, "jobs_result_bytes", "gauge", "Bytes of results that are kept.");
    line(&mut out, "jobs_result_bytes", bytes);
    if let Some(stats) = stats {
        head(&mut out, "http_responses_total", "counter", "Responses by status.");
        for (status, count) in stats.answers() {
            line(&mut out, &format!("http_responses_total{{status=\"{status}\"}}"), count);
        }
        head(&mut out, "http_connections", "gauge", "Connections that are open.");
        line(&mut out, "http_connections", stats.open());
        head(&mut out, "http_connections_opened_total", "counter", "Connections that were opened.");
        line(&mut out, "http_connections_opened_total", stats.opened());
        head(&mut out, "http_connections_refused_total", "counter", "Connections that were one too many.");
        line(&mut out, "http_connections_refused_total", stats.refused());
    }
    out
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn line(out: &mut String, name: &str, value: impl Display) {
    _ = writeln!(out, "{name} {value}");
}
