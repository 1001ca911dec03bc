//! Reading.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use brigade::io::Input;
use brigade::{CancelReason, CancellationToken, Cancelled};

use super::{cancelled_while, pipe};
use crate::util::{
    alone, cpu_time, live, threads_but_the_clock, until_others_sleep, until_threads_but_the_clock, watched,
};

/// The reason in an error of a cancelled read.
fn reason(error: &io::Error) -> CancelReason {
    let cancelled = error.get_ref().and_then(|inner| inner.downcast_ref::<Cancelled>());
    cancelled.unwrap_or_else(|| panic!("{error:?} is no cancellation")).reason()
}

#[test]
fn cancel_wakes_a_read_of_a_silent_pipe_at_once() {
    if !alone!(cancel_wakes_a_read_of_a_silent_pipe_at_once) {
        return;
    }
    watched(|| {
        let (reader, writer) = pipe();
        let mut input = Input::new(reader);
        let (result, late) = cancelled_while(|token| input.until(token).read(&mut [0; 10]));
        assert_eq!(reason(&result.unwrap_err()), CancelReason::Requested);
        assert!(late < Duration::from_millis(500), "{late:?}");
        drop(writer);
    });
}

#[test]
fn cancel_wakes_a_read_of_a_silent_socket() {
    if !alone!(cancel_wakes_a_read_of_a_silent_socket) {
        return;
    }
    watched(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        let mut input = Input::new(&ours);
        let (result, _) = cancelled_while(|token| input.until(token).fill_buf().map(<[u8]>::len));
        assert_eq!(reason(&result.unwrap_err()), CancelReason::Requested);
        drop(theirs);
    });
}

#[test]
fn a_deadline_and_an_ancestor_wake_a_read() {
    watched(|| {
        let (reader, _writer) = pipe();
        let mut input = Input::new(reader);
        let parent = CancellationToken::new().child_with_timeout(Duration::from_millis(5));
        for token in [parent.clone(), parent.child_token()] {
            let error = input.until(&token).read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!((reason(&error), error.kind()), (CancelReason::Deadline, io::ErrorKind::TimedOut));
        }
    });
}

#[test]
fn a_cancelled_token_reads_nothing_but_the_buffer() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"buffered").unwrap();
    let mut input = Input::new(ours);
    assert_eq!(input.until(&live()).fill_buf().unwrap(), b"buffered");
    theirs.write_all(b"not yet").unwrap();
    let token = live();
    token.cancel();
    let mut view = input.until(&token);
    let mut bytes = [0; 8];
    view.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"buffered");
    assert_eq!(reason(&view.read(&mut bytes).unwrap_err()), CancelReason::Requested);
    drop(theirs);
    let mut rest = String::new();
    input.until(&CancellationToken::never()).read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "not yet");
}

#[test]
fn a_token_that_is_never_cancelled_waits_for_bytes() {
    if !alone!(a_token_that_is_never_cancelled_waits_for_bytes) {
        return;
    }
    watched(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let read = brigade::scope(&live(), |s| {
            s.spawn(move |_| {
                until_others_sleep();
                theirs.write_all(b"late")?;
                Ok::<_, io::Error>(())
            })?;
            let mut text = String::new();
            Input::new(ours).until(&CancellationToken::never()).read_to_string(&mut text)?;
            Ok(text)
        });
        assert_eq!(read.unwrap(), "late");
    });
}

#[test]
fn the_end_of_a_pipe_is_the_end() {
    watched(|| {
        let (reader, writer) = pipe();
        drop(writer);
        let mut input = Input::new(reader);
        assert_eq!(input.until(&live()).read(&mut [0; 10]).unwrap(), 0);
        assert!(input.until(&live()).fill_buf().unwrap().is_empty());
    });
}

#[test]
fn a_read_of_nothing_waits_for_nothing() {
    watched(|| {
        let (reader, _writer) = pipe();
        let token = live().child_with_timeout(Duration::from_secs(1));
        for capacity in [1, 4096] {
            assert_eq!(Input::with_capacity(capacity, &reader).until(&token).read(&mut []).unwrap(), 0);
        }
    });
}

#[test]
fn a_file_is_read_as_std_reads_it_whatever_the_capacity() {
    let expected = std::fs::read("Cargo.lock").unwrap();
    for capacity in [1, 7, 4096, 1 << 20] {
        let mut input = Input::with_capacity(capacity, File::open("Cargo.lock").unwrap());
        let mut bytes = Vec::new();
        input.until(&live()).read_to_end(&mut bytes).unwrap();
        assert!(bytes == expected);
        let mut input = Input::with_capacity(capacity, File::open("Cargo.lock").unwrap());
        let lines: io::Result<Vec<_>> = input.until(&live()).lines().collect();
        let file = BufReader::new(File::open("Cargo.lock").unwrap());
        assert_eq!(lines.unwrap(), file.lines().collect::<io::Result<Vec<_>>>().unwrap());
    }
}

#[test]
fn a_block_device_is_read_as_std_reads_it() {
    // Only some users may read one, and a container may have none.
    let mut devices = std::fs::read_dir("/sys/class/block").into_iter().flatten().flatten();
    let readable = |name| {
        let device = File::open(Path::new("/dev").join(name)).ok()?;
        let mut bytes = vec![0; 512];
        (&device).read_exact(&mut bytes).ok()?;
        (&device).rewind().ok()?;
        Some((device, bytes))
    };
    let Some((device, expected)) = devices.find_map(|device| readable(device.file_name())) else { return };
    let mut bytes = vec![0; expected.len()];
    Input::new(device).until(&live()).read_exact(&mut bytes).unwrap();
    assert!(bytes == expected);
}

#[test]
fn a_cancel_ends_the_read_of_a_device_without_end_between_two_reads() {
    let token = live();
    let mut input = Input::new(File::open("/dev/zero").unwrap());
    let mut view = input.until(&token);
    assert_eq!(view.read(&mut vec![1; 100_000]).unwrap(), 100_000);
    token.cancel();
    assert_eq!(reason(&view.read(&mut vec![1; 100_000]).unwrap_err()), CancelReason::Requested);
}

#[test]
fn the_error_of_the_system_is_the_error() {
    let directory = File::open("src").unwrap();
    let error = Input::new(&directory).until(&live()).read(&mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
    let (_reader, writer) = pipe();
    let error = Input::new(writer).until(&live()).read(&mut [0; 10]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(9), "a pipe's end to write to");
}

#[test]
fn a_shared_descriptor_keeps_its_flags() {
    watched(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let flags = |socket: &UnixStream| rustix::fs::fcntl_getfl(socket).unwrap();
        let before = flags(&ours);
        theirs.write_all(b"x").unwrap();
        let mut input = Input::new(ours.try_clone().unwrap());
        assert_eq!(input.until(&live()).read(&mut [0; 10]).unwrap(), 1);
        let token = live().child_with_timeout(Duration::from_millis(1));
        input.until(&token).read(&mut [0; 10]).unwrap_err();
        assert_eq!(flags(&ours), before);
    });
}

#[test]
fn a_descriptor_that_others_made_non_blocking_waits_all_the_same() {
    watched(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let token = live().child_with_timeout(Duration::from_millis(1));
        let error = Input::new(&ours).until(&token).read(&mut [0; 10]).unwrap_err();
        assert_eq!(reason(&error), CancelReason::Deadline);
        drop(theirs);
    });
}

#[test]
fn waiting_uses_no_cpu_time_and_no_thread() {
    if !alone!(waiting_uses_no_cpu_time_and_no_thread) {
        return;
    }
    watched(|| {
        let (reader, writer) = pipe();
        let mut input = Input::new(reader);
        let before = (cpu_time(), threads_but_the_clock(), Instant::now());
        let token = live().child_with_timeout(Duration::from_millis(300));
        input.until(&token).read(&mut [0; 10]).unwrap_err();
        assert!(before.2.elapsed() >= Duration::from_millis(300));
        let used = cpu_time().saturating_sub(before.0);
        assert!(used < Duration::from_millis(10), "{used:?}");
        until_threads_but_the_clock(before.1);
        drop(writer);
    });
}
