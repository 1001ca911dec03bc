//! [`Api`]: the requests that the server answers, and how.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use brigade::pool::JobStatus;
use serde::Serialize;

use crate::app::{App, Refusal};
use crate::http::{Client, Handler, Method, Request, Response, Stats, Waited};
use crate::metrics;
use crate::record::{Record, RecordView};
use crate::registry::Which;
use crate::work::Work;

/// The longest `wait` and the longest `timeout`.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(7 * 24 * 3_600);

/// How many jobs a list has: at most, and by default.
const MOST: usize = 1_000;
const MOST_BY_DEFAULT: usize = 100;

/// The requests on an [`App`].
#[derive(Debug)]
pub(crate) struct Api {
    app: Arc<App>,
    /// Set once the server is there, which has them.
    stats: OnceLock<Arc<Stats>>,
}

/// What a path names.
enum Resource<'a> {
    Page,
    Jobs,
    Job(&'a str),
    Output(&'a str),
    Health,
    Metrics,
}

/// A page of jobs, for clients.
#[derive(Serialize)]
struct List<'a> {
    jobs: Vec<RecordView<'a>>,
    /// The last id that is known.
    last: Option<u64>,
}

impl<'a> Resource<'a> {
    fn of(path: &'a str) -> Option<Self> {
        match path {
            "/" => return Some(Resource::Page),
            "/jobs" => return Some(Resource::Jobs),
            "/healthz" => return Some(Resource::Health),
            "/metrics" => return Some(Resource::Metrics),
            _ => {}
        }
        let rest = path.strip_prefix("/jobs/")?;
        match rest.split_once('/') {
            None if !rest.is_empty() => Some(Resource::Job(rest)),
            Some((id, "result")) => Some(Resource::Output(id)),
            _ => None,
        }
    }

    fn allows(&self) -> &'static str {
        match self {
            Resource::Jobs => "GET, HEAD, POST",
            Resource::Job(_) => "GET, HEAD, DELETE",
            _ => "GET, HEAD",
        }
    }

    fn allows_method(&self, method: Method) -> bool {
        match method {
            Method::Get | Method::Head => true,
            Method::Post => matches!(self, Resource::Jobs),
            Method::Delete => matches!(self, Resource::Job(_)),
            Method::Put | Method::Other => false,
        }
    }
}

type Answer = Result<Response, Response>;

impl Handler for Api {
    fn refuse(&self, head: &Request, address: IpAddr) -> Option<Response> {
        self.look_at(head, address).err()
    }

    fn answer(&self, request: &Request, client: &Client<'_>) -> Response {
        // Both are responses; the second kind only ends its function early.
        self.route(request, client).unwrap_or_else(|refusal| refusal)
    }
}

impl Api {
    pub(crate) fn new(app: Arc<App>) -> Self {
        Api { app, stats: OnceLock::new() }
    }

    /// Sets the counts of the server, for the metrics.
    pub(crate) fn set_stats(&self, stats: Arc<Stats>) {
        // It is set once, by the one that makes the server.
        _ = self.stats.set(stats);
    }

    /// Looks at all of a request but its body. A job is counted against the rate here, because its body costs too.
    fn look_at(&self, head: &Request, address: IpAddr) -> Result<(), Response> {
        let resource = resource(head)?;
        if !resource.allows_method(head.method) {
            return Err(no_method(&resource));
        }
        let changes = matches!(head.method, Method::Post | Method::Delete);
        if changes && head.is_cross_site {
            return Err(Response::error(403, "cross_site", "the page of another site has sent this"));
        }
        if head.method == Method::Post {
            self.app.admit(address).map_err(|refusal| self.refused(&refusal))?;
        }
        Ok(())
    }

    fn route(&self, request: &Request, client: &Client<'_>) -> Answer {
        let resource = resource(request)?;
        let method = if request.method == Method::Head { Method::Get } else { request.method };
        match (&resource, method) {
            (Resource::Page, Method::Get) => {
                Ok(Response::new(200, "text/html; charset=utf-8", include_str!("page.html")))
            }
            (Resource::Health, Method::Get) => Ok(self.health()),
            (Resource::Metrics, Method::Get) => {
                let text = metrics::text(&self.app, self.stats.get().map(|stats| &**stats));
                Ok(Response::new(200, "text/plain; version=0.0.4", text))
            }
            (Resource::Jobs, Method::Get) => self.list(request),
            (Resource::Jobs, Method::Post) => self.submit(request, client),
            (Resource::Job(id), Method::Get) => Ok(Response::json(200, &self.record(id)?.view())),
            (Resource::Job(id), Method::Delete) => self.cancel(id),
            (Resource::Output(id), Method::Get) => self.output(id, request, client),
            _ => Err(no_method(&resource)),
        }
    }

    fn health(&self) -> Response {
        if self.app.is_closing() {
            closing()
        } else if !self.app.is_sound() {
            Response::error(503, "state", "the state cannot be written")
        } else {
            Response::new(200, "text/plain", "ok\n")
        }
    }

    fn record(&self, id: &str) -> Result<Arc<Record>, Response> {
        let record = id.parse().ok().and_then(|id| self.app.registry().get(id));
        record.ok_or_else(|| Response::error(404, "unknown_job", "no such job, or it ended too long ago"))
    }

    fn list(&self, request: &Request) -> Answer {
        let status = request.query("status").map(|name| {
            let status = JobStatus::ALL.into_iter().find(|status| status.to_string() == name);
            status
                .ok_or_else(|| bad_query("status is pending, running, completed, failed, panicked, cancelled, skipped"))
        });
        let after = request.query("after").map(|id| id.parse().map_err(|_| bad_query("after is the id of a job")));
        let most = request.query("most").map(|most| most.parse().map_err(|_| bad_query("most is a number of jobs")));
        let most = most.transpose()?.unwrap_or(MOST_BY_DEFAULT).min(MOST);
        let which = match (request.query("order"), after.transpose()?) {
            (None, after) => Which::After(after),
            (Some("newest"), None) => Which::Newest,
            (Some(_), _) => return Err(bad_query("order is newest, and has no after")),
        };
        let (records, last) = self.app.registry().list(status.transpose()?, which, most);
        Ok(Response::json(200, &List { jobs: records.iter().map(|record| record.view()).collect(), last }))
    }

    fn submit(&self, request: &Request, client: &Client<'_>) -> Answer {
        let timeout = seconds(request, "timeout", LONGEST_TIMEOUT)?;
        let work: Work = serde_json::from_slice(&request.body).map_err(|error| {
            // The message may quote the body.
            let start: String = error.to_string().chars().take(200).collect();
            Response::error(400, "bad_json", &format!("the body is no job: {start}"))
        })?;
        work.check().map_err(|error| Response::error(422, "bad_job", &error.to_string()))?;
        let record = self.app.submit(client.token(), work, timeout).map_err(|refusal| self.refused(&refusal))?;
        Ok(Response::json(202, &record.view()).with("Location", format!("/jobs/{}", record.id)))
    }

    fn refused(&self, refusal: &Refusal) -> Response {
        self.app.count_refusal(refusal);
        refuse(refusal)
    }

    fn cancel(&self, id: &str) -> Answer {
        let record = self.record(id)?;
        if self.app.cancel(&record) {
            return Ok(Response::json(202, &record.view()));
        }
        if let Some(why) = record.left() {
            return Err(left(why));
        }
        let message = format!("the job is {}: it ends, has ended, or is cancelled already", record.status());
        Err(Response::error(409, "not_cancelled", &message))
    }

    fn output(&self, id: &str, request: &Request, client: &Client<'_>) -> Answer {
        let record = self.record(id)?;
        if let Some(wait) = seconds(request, "wait", LONGEST_WAIT)?.filter(|_| record.end().is_none())
            && client.wait(record.ended(), wait) == Waited::Gone
        {
            return Err(Response::error(503, "gone", "the client or the server is gone"));
        }
        let Some(end) = record.end() else {
            if let Some(why) = record.left() {
                return Err(left(why));
            }
            return Err(Response::error(409, "not_ready", &format!("the job is {}", record.status())));
        };
        if let Some(output) = &end.output {
            return Ok(Response::new(200, output.kind.content_type(), output.bytes.clone()));
        }
        let message = end.message.as_deref().unwrap_or("it has no result");
        Err(Response::error(410, &end.status.to_string(), message))
    }
}

fn resource(request: &Request) -> Result<Resource<'_>, Response> {
    Resource::of(&request.path).ok_or_else(|| Response::error(404, "not_found", "there is nothing at this path"))
}

fn no_method(resource: &Resource<'_>) -> Response {
    Response::error(405, "method", "the path does not have this method").with("Allow", resource.allows())
}

fn bad_query(message: &str) -> Response {
    Response::error(400, "bad_query", message)
}

/// Reads a number of seconds from the query, such as 2 or 0.5; at most `longest`.
fn seconds(request: &Request, name: &str, longest: Duration) -> Result<Option<Duration>, Response> {
    let read = |text: &str| {
        let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds >= 0.0);
        let seconds = seconds.ok_or_else(|| bad_query(&format!("{name} is a number of seconds")))?;
        Ok(Duration::try_from_secs_f64(seconds).unwrap_or(longest).min(longest))
    };
    request.query(name).map(read).transpose()
}

/// The job may have a result later, from another process.
fn left(why: &str) -> Response {
    Response::error(503, "left", why).with("Retry-After", "5")
}

fn closing() -> Response {
    Response::error(503, "closing", "the server is closing").with("Retry-After", "5")
}

fn refuse(refusal: &Refusal) -> Response {
    match refusal {
        Refusal::Rate(denied) => {
            let after = denied.retry_after.as_secs() + u64::from(denied.retry_after.subsec_nanos() > 0);
            let response = Response::error(429, "rate", "this client sends jobs too fast");
            response.with("Retry-After", after.max(1).to_string())
        }
        Refusal::Closing => closing(),
        Refusal::Full => Response::error(503, "full", "the queue is full").with("Retry-After", "1"),
        Refusal::NoThread => Response::error(503, "thread", "the system refuses a thread").with("Retry-After", "1"),
        Refusal::Journal(error) => Response::error(500, "state", &format!("the job is not on disk: {error}")),
    }
}
