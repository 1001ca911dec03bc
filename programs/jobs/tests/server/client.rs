//! The same requests by a client crate, over one connection that is kept.

use ureq::Agent;

use crate::process::Running;
use crate::util::watched;

#[test]
fn a_client_crate_takes_a_job_from_its_acceptance_to_its_result() {
    watched(|| {
        let server = Running::start(&[]);
        // A status of 400 and more is a response here, as the server means it.
        let agent: Agent = Agent::config_builder().http_status_as_error(false).build().into();
        let opened = || {
            let metrics = agent.get(server.url("/metrics")).call().expect("it listens");
            let metrics = metrics.into_body().read_to_string().expect("text");
            let line = metrics.lines().find(|line| line.starts_with("http_connections_opened_total "));
            line.expect("a count of the connections").to_owned()
        };
        let before = opened();
        for number in 0..20 {
            let job = format!(r#"{{"kind": "primes", "below": {}}}"#, 100 + number);
            let accepted = agent.post(server.url("/jobs")).send(&job).expect("it listens");
            assert_eq!(accepted.status(), 202);
            let path = accepted.headers()["Location"].to_str().expect("text").to_owned();
            // A connection is used again when the response has been read.
            assert!(accepted.into_body().read_to_string().expect("text").contains(r#""id":"#));
            let result = agent.get(server.url(&format!("{path}/result?wait=30"))).call().expect("it listens");
            assert_eq!(result.status(), 200);
            assert!(result.into_body().read_to_string().expect("text").starts_with(r#"{"primes":"#));
            let cancel = agent.delete(server.url(&path)).call().expect("it listens");
            assert_eq!(cancel.status(), 409);
            assert!(cancel.into_body().read_to_string().expect("text").contains("not_cancelled"));
        }
        let unknown = agent.get(server.url("/jobs/1000000")).call().expect("it listens");
        assert_eq!(unknown.status(), 404);
        assert!(unknown.into_body().read_to_string().expect("text").starts_with(r#"{"error":""#));
        assert_eq!(opened(), before, "one connection has served it all");
    });
}
