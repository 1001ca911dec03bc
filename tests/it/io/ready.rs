//! Waiting for a descriptor, and accepting.

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use brigade::io::{accept, readable, writable};

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
