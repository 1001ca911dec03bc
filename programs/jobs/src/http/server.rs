//! [`Server`]: accepting connections, and ending in good order.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use brigade::limit::OwnedPermit;
use brigade::pool::{Close, JobCx};
use brigade::{CancellationToken, Pool, PoolBuilder, Semaphore};

use super::client::Client;
use super::connection;
use super::limits::Limits;
use super::request::Request;
use super::response::Response;
use super::stats::Stats;

/// How many clients are told at once that there are too many. Further ones are closed without a word.
const TURNED_AWAY: usize = 16;

/// How long the server accepts no connection when the system refuses one, because there are no descriptors.
const PAUSE: Duration = Duration::from_millis(20);

/// The stack of a connection's thread. The JSON of a request is nested 128 deep at most.
const STACK: usize = 512 << 10;

/// Answers requests, on the thread of their connection.
///
/// A panic is answered with 500, and ends the connection and no other one.
pub trait Handler: Send + Sync {
    /// Refuses a request by its head, or lets it go on. It is called once for each request, before the body is read and
    /// before a client that expects it is told to continue.
    fn refuse(&self, head: &Request, address: IpAddr) -> Option<Response> {
        _ = (head, address);
        None
    }

    /// Answers a request.
    fn answer(&self, request: &Request, client: &Client<'_>) -> Response;
}

impl<F: Fn(&Request, &Client<'_>) -> Response + Send + Sync> Handler for F {
    fn answer(&self, request: &Request, client: &Client<'_>) -> Response {
        self(request, client)
    }
}

impl<H: Handler> Handler for Arc<H> {
    fn refuse(&self, head: &Request, address: IpAddr) -> Option<Response> {
        (**self).refuse(head, address)
    }

    fn answer(&self, request: &Request, client: &Client<'_>) -> Response {
        (**self).answer(request, client)
    }
}

/// The two steps in which a server ends.
#[derive(Clone, Debug)]
pub struct Phases {
    /// When it is cancelled, idle connections are closed, and each response is the last of its connection. Clients that
    /// connect are still answered.
    pub closing: CancellationToken,
    /// When it is cancelled, no connection is accepted, and those from which no byte has come are closed.
    pub stop: CancellationToken,
}

/// What the connections share.
pub(super) struct Service {
    pub(super) handler: Arc<dyn Handler>,
    pub(super) limits: Limits,
    /// The bytes of bodies.
    pub(super) bodies: Semaphore,
    pub(super) phases: Phases,
    pub(super) stats: Arc<Stats>,
    pub(super) logs: bool,
}

/// A server of HTTP/1.0 and 1.1.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::{TcpListener, TcpStream};
/// use std::time::Duration;
/// use brigade::{CancellationToken, scope};
/// use jobs::http::{Client, Limits, Phases, Request, Response, Server};
///
/// let hello = |_: &Request, _: &Client<'_>| Response::new(200, "text/plain", "hello");
/// let server = Server::new(hello, Limits::default());
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// let (closing, stop) = (CancellationToken::new(), CancellationToken::new());
/// scope(&CancellationToken::new(), |s| {
///     let phases = Phases { closing: closing.clone(), stop: stop.clone() };
///     s.spawn(|_| server.serve(&listener, phases, Duration::from_secs(1)))?;
///     let mut stream = TcpStream::connect(address)?;
///     stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
///     let mut response = String::new();
///     stream.read_to_string(&mut response)?;
///     assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("\r\n\r\nhello"));
///     closing.cancel();
///     stop.cancel();
///     Ok::<_, std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Server {
    handler: Arc<dyn Handler>,
    limits: Limits,
    stats: Arc<Stats>,
    logs: bool,
}

impl Server {
    /// Creates a server.
    ///
    /// # Panics
    ///
    /// If the limits allow no connection, or fewer bytes of all bodies than of one.
    #[must_use]
    pub fn new(handler: impl Handler + 'static, limits: Limits) -> Self {
        assert!(limits.connections > 0, "a server of 0 connections answers no request");
        assert!(limits.bodies >= limits.body, "a body of {} bytes would never be read", limits.body);
        Server { handler: Arc::new(handler), limits, stats: Arc::new(Stats::new()), logs: false }
    }

    /// Writes a line for each request to the standard error, if `logs`.
    #[must_use]
    pub fn access_log(self, logs: bool) -> Self {
        Server { logs, ..self }
    }

    /// Returns the counts, which go on while the server serves.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// Accepts and serves connections until `phases.stop` is cancelled; then waits for the responses under way, for at
    /// most `grace`, and ends the connections that are left.
    ///
    /// A request whose first byte has come is under way. When the system has no descriptors for a new connection, the
    /// server goes on with those that are open, and accepts again a moment later.
    ///
    /// # Errors
    ///
    /// The error of the system if the listener cannot accept any more. A handler of the server cannot call this.
    pub fn serve(&self, listener: &TcpListener, phases: Phases, grace: Duration) -> io::Result<()> {
        let never = CancellationToken::never();
        listener.set_nonblocking(true)?;
        let threads = self.limits.connections + TURNED_AWAY;
        let builder = PoolBuilder::new(threads).queue(threads).named("http").stack_size(STACK);
        let pool = builder.start(&never);
        let stop = phases.stop.clone();
        let (limits, logs) = (self.limits, self.logs);
        let (handler, stats) = (Arc::clone(&self.handler), Arc::clone(&self.stats));
        let service = Arc::new(Service { handler, limits, bodies: Semaphore::new(limits.bodies), phases, stats, logs });
        let acceptor = Acceptor {
            service,
            pool,
            places: Semaphore::new(self.limits.connections),
            turned_away: Semaphore::new(TURNED_AWAY),
        };
        let accepted = acceptor.run(listener, &stop);
        // A failed listener ends the server too, so that the close does not wait for idle connections.
        acceptor.service.phases.closing.cancel();
        stop.cancel();
        acceptor.pool.close(&never, Close::Drain, grace).map_err(io::Error::other)?;
        accepted
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("limits", &self.limits).field("stats", &self.stats).finish_non_exhaustive()
    }
}

struct Acceptor {
    service: Arc<Service>,
    pool: Pool,
    places: Semaphore,
    turned_away: Semaphore,
}

impl Acceptor {
    fn run(&self, listener: &TcpListener, stop: &CancellationToken) -> io::Result<()> {
        for connection in brigade::io::incoming(listener, stop)? {
            match connection {
                Ok((stream, peer)) => self.admit(stream, peer),
                Err(error) => match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
                    Some(
                        rustix::io::Errno::MFILE
                        | rustix::io::Errno::NFILE
                        | rustix::io::Errno::NOBUFS
                        | rustix::io::Errno::NOMEM,
                    ) => _ = stop.sleep(PAUSE),
                    Some(rustix::io::Errno::BADF | rustix::io::Errno::INVAL | rustix::io::Errno::NOTSOCK) | None => {
                        return Err(error);
                    }
                    // The client or the network has given the connection up before it was accepted.
                    Some(_) => {}
                },
            }
        }
        Ok(())
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        // It only makes small responses faster.
        _ = stream.set_nodelay(true);
        if let Ok(place) = self.places.try_acquire_owned(1) {
            self.start(place, move |service, job| connection::serve(service, &stream, peer.ip(), job.token()));
            return;
        }
        self.service.stats.count_refused();
        if let Ok(place) = self.turned_away.try_acquire_owned(1) {
            self.start(place, move |service, job| connection::turn_away(service, &stream, job.token()));
        }
    }

    /// Starts the job of a connection. If the system refuses its thread, the connection is closed.
    fn start(&self, place: OwnedPermit, serve: impl FnOnce(&Service, &JobCx<'_>) + Send + 'static) {
        let open = Open { service: Arc::clone(&self.service), _place: place };
        open.service.stats.count_opened();
        _ = self.pool.try_fire(move |job| serve(&open.service, job));
    }
}

/// Counts a connection as closed when it is dropped, and gives its place back.
struct Open {
    service: Arc<Service>,
    _place: OwnedPermit,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.service.stats.count_closed();
    }
}
