//! Writing.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use brigade::CancellationToken;
use brigade::io::Output;
use rustix::pipe::fcntl_getpipe_size;

use super::{cancelled_while, pipe};
use crate::util::{alone, live, watched};

#[test]
fn cancel_wakes_a_write_to_a_full_pipe_and_what_it_has_written_is_all_there_is() {
    if !alone!(cancel_wakes_a_write_to_a_full_pipe_and_what_it_has_written_is_all_there_is) {
        return;
    }
    watched(|| {
        let (reader, writer) = pipe();
        let room = fcntl_getpipe_size(&writer).unwrap();
        let mut output = Output::new(writer);
        let bytes: Vec<u8> = (0..room * 2).map(|at| (at % 251).to_le_bytes()[0]).collect();
        let mut written = 0;
        let (result, late) = cancelled_while(|token| -> io::Result<()> {
            let mut view = output.until(token);
            while written < bytes.len() {
                written += view.write(&bytes[written..])?;
            }
            Ok(())
        });
        result.unwrap_err();
        assert!(late < Duration::from_millis(500), "{late:?}");
        assert_eq!(written, room);
        drop(output);
        let mut read = Vec::new();
        File::from(reader).read_to_end(&mut read).unwrap();
        assert!(read == bytes[..written]);
    });
}

#[test]
fn cancel_wakes_a_write_to_a_full_socket() {
    if !alone!(cancel_wakes_a_write_to_a_full_socket) {
        return;
    }
    watched(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        let (result, late) = cancelled_while(|token| Output::new(&ours).until(token).write_all(&vec![0; 1 << 26]));
        result.unwrap_err();
        assert!(late < Duration::from_millis(500), "{late:?}");
        drop(theirs);
    });
}

#[test]
fn a_small_write_to_a_pipe_is_whole() {
    watched(|| {
        let (reader, writer) = pipe();
        let room = fcntl_getpipe_size(&writer).unwrap();
        let mut output = Output::new(writer);
        let token = live().child_with_timeout(Duration::from_millis(20));
        let mut view = output.until(&token);
        let mut lines = 0;
        while let Ok(length) = view.write(&[b'x'; 3000]) {
            assert_eq!(length, 3000);
            lines += 1;
        }
        assert!(lines > 0 && lines * 3000 <= room);
        drop((output, reader));
    });
}

#[test]
fn a_buffer_keeps_what_a_cancelled_write_has_not_written() {
    watched(|| {
        let (reader, writer) = pipe();
        let room = fcntl_getpipe_size(&writer).unwrap();
        let mut output = Output::new(writer);
        let token = live().child_with_timeout(Duration::from_millis(5));
        let mut buffered = BufWriter::with_capacity(room * 2, output.until(&token));
        buffered.write_all(&vec![b'a'; room + 10]).unwrap();
        buffered.flush().unwrap_err();
        let (_, rest) = buffered.into_parts();
        let rest = rest.expect("no panic");
        assert_eq!(rest.len(), 10);
        let mut reader = File::from(reader);
        reader.read_exact(&mut vec![0; room]).unwrap();
        output.until(&CancellationToken::never()).write_all(&rest).unwrap();
        drop(output);
        let mut last = Vec::new();
        reader.read_to_end(&mut last).unwrap();
        assert_eq!(last, [b'a'; 10]);
    });
}

#[test]
fn a_closed_pipe_and_a_full_device_are_their_errors() {
    let (reader, writer) = pipe();
    drop(reader);
    let error = Output::new(writer).until(&live()).write(b"x").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let error = Output::new(full).until(&live()).write(b"x").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn a_file_is_written_as_it_is() {
    let mut file = tempfile::tempfile().unwrap();
    let mut output = Output::new(&file);
    output.until(&live()).write_all(&vec![7; 100_000]).unwrap();
    let token = live();
    token.cancel();
    output.until(&token).write(b"x").unwrap_err();
    let mut bytes = Vec::new();
    io::Seek::rewind(&mut file).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    assert!(bytes == vec![7; 100_000]);
}
