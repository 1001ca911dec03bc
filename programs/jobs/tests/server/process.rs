//! A server as a child process, and a client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A server that runs. It is killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) address: String,
}

impl Running {
    /// Starts a server at a free port. Clients have no rate limit, unless `args` set one.
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jobs"));
        command.args(["--listen", "127.0.0.1:0"]);
        if !args.contains(&"--rate") {
            command.args(["--rate", "0"]);
        }
        Running::of(command.args(args))
    }

    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("text");
        let Some(address) = line.trim().strip_prefix("listening at http://") else {
            let mut complaint = String::new();
            child.stderr.take().expect("piped").read_to_string(&mut complaint).expect("text");
            panic!("it says {line:?}, and complains {complaint:?}");
        };
        Running { child, address: address.to_owned() }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Waits for the end; returns what the server has said on the standard error.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
        (self.child.wait().expect("a child"), said)
    }

    /// Has the server end by SIGTERM; returns what it has said.
    pub(crate) fn stop(self) -> String {
        self.signal(Signal::TERM);
        let (status, said) = self.end();
        assert_eq!(status.code(), Some(0), "{status} {said}");
        said
    }

    pub(crate) fn client(&self) -> Caller {
        Caller::try_connect(&self.address).expect("it listens")
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        self.client().ask("GET", path, "").expect("an answer").json()
    }

    pub(crate) fn post(&self, body: &str) -> (u16, Value) {
        self.client().ask("POST", "/jobs", body).expect("an answer").json()
    }

    pub(crate) fn delete(&self, id: u64) -> (u16, Value) {
        self.client().ask("DELETE", &format!("/jobs/{id}"), "").expect("an answer").json()
    }

    /// Posts a job that is accepted; returns its id.
    pub(crate) fn accept(&self, body: &str) -> u64 {
        let (status, job) = self.post(body);
        assert_eq!(status, 202, "{job}");
        id(&job)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, or a test has failed.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

pub(crate) fn id(job: &Value) -> u64 {
    job["id"].as_u64().unwrap_or_else(|| panic!("{job} has no id"))
}

/// A connection that is kept.
pub(crate) struct Caller {
    stream: BufReader<TcpStream>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> (u16, Value) {
        let body = serde_json::from_slice(&self.body);
        (self.status, body.unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&self.body).into_owned())))
    }
}

impl Caller {
    pub(crate) fn try_connect(address: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(50)))?;
        Ok(Caller { stream: BufReader::new(stream) })
    }

    pub(crate) fn send(&mut self, method: &str, path: &str, body: &str) -> std::io::Result<()> {
        let length = body.len();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}");
        self.stream.get_mut().write_all(request.as_bytes())
    }

    /// Reads an answer, or the error of a connection that is closed.
    pub(crate) fn answer(&mut self) -> std::io::Result<Answer> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
        let mut body = vec![0; length.parse().expect("a number")];
        self.stream.read_exact(&mut body)?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        Ok(Answer { status, head, body })
    }

    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &str) -> std::io::Result<Answer> {
        self.send(method, path, body)?;
        self.answer()
    }
}
