//! Waiting for a descriptor, and accepting.

use std::fs::{self, File};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use brigade::io::{Input, accept, incoming, readable, writable};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{cancelled_while, pipe};
use crate::util::{alone, live, watched};

#[test]
fn cancel_wakes_readable_and_writable() {
    if !alone!(cancel_wakes_readable_and_writable) {
        return;
    }
    watched(|| {
        let (reader, writer) = pipe();
        writable(&writer, &live()).unwrap();
        cancelled_while(|token| readable(&reader, token)).0.unwrap_err();
        rustix::io::write(&writer, &vec![0; rustix::pipe::fcntl_getpipe_size(&writer).unwrap()]).unwrap();
        readable(&reader, &live()).unwrap();
        cancelled_while(|token| writable(&writer, token)).0.unwrap_err();
    });
}

#[test]
fn cancel_wakes_accept() {
    if !alone!(cancel_wakes_accept) {
        return;
    }
    watched(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        cancelled_while(|token| accept(&listener, token)).0.unwrap_err();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        accept(&listener, &live()).unwrap();
    });
}

#[test]
fn a_listener_whose_connection_another_took_waits_for_the_next() {
    watched(|| {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let token = live().child_with_timeout(Duration::from_millis(2));
        accept(&listener, &token).unwrap_err();
        let _client = UnixStream::connect(folder.path().join("socket")).unwrap();
        accept(&listener, &live()).unwrap();
    });
}

#[test]
fn a_loop_of_accepts_ends_at_a_cancel() {
    if !alone!(a_loop_of_accepts_ends_at_a_cancel) {
        return;
    }
    watched(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _clients = [(), ()].map(|()| TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let (accepted, late) = cancelled_while(|token| {
            let connections = incoming(&listener, token).unwrap();
            connections.inspect(|connection| assert!(connection.is_ok())).count()
        });
        assert_eq!(accepted, 2);
        assert!(late < Duration::from_millis(500), "{late:?}");
    });
}

#[test]
fn a_loop_of_accepts_waits_without_a_free_descriptor() {
    if !alone!(a_loop_of_accepts_waits_without_a_free_descriptor) {
        return;
    }
    watched(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let token = live().child_with_timeout(Duration::from_millis(100));
        let mut connections = incoming(&listener, &token).unwrap();
        // The lowest number that is free is the first that the limit forbids.
        let free = File::open("/dev/null").unwrap().as_raw_fd();
        let limit = Rlimit { current: Some(free.unsigned_abs().into()), ..getrlimit(Resource::Nofile) };
        setrlimit(Resource::Nofile, limit).unwrap();
        assert_eq!(accept(&listener, &token).unwrap_err().raw_os_error(), Some(24), "too many open files");
        assert!(connections.next().is_none(), "it waits until the cancel");
        assert!(token.is_cancelled());
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_view_that_has_waited_holds_one_descriptor() {
    if !alone!(a_view_that_has_waited_holds_one_descriptor) {
        return;
    }
    watched(|| {
        let open = || fs::read_dir("/proc/self/fd").unwrap().count();
        let (reader, _writer) = pipe();
        let mut input = Input::new(reader);
        let before = open();
        let token = live().child_with_timeout(Duration::from_millis(1));
        let mut view = input.until(&token);
        view.read(&mut [0; 10]).unwrap_err();
        assert_eq!(open(), before + 1);
        drop(view);
        assert_eq!(open(), before);
    });
}
