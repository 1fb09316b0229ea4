//! Both ends of a compressed tar over HTTP: `sink` receives, unpacks and gives back; `upload` and `download` are its clients.
//!
//! Just enough of HTTP/1.1 for each other: one request per connection, chunked bodies.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
};

use snafu::ResultExt as _;

use crate::error::{IoSnafu, Result, UnexpectedSnafu};

/// Runs an end: `sink ADDRESS DIRECTORY OPTION`, where tar unpacks with `--OPTION`, `upload ADDRESS` or `download ADDRESS`.
pub(super) fn run(end: &str, operands: &[String]) -> Result<()> {
    let result = match (end, operands) {
        ("sink", [address, directory, option]) => sink(address, Path::new(directory), option),
        ("upload", [address]) => upload(address),
        ("download", [address]) => download(address),
        _ => {
            return UnexpectedSnafu {
                what: "usage: cargo xtask bench files",
            }
            .fail();
        }
    };
    result.context(IoSnafu {
        action: format!("{end} a tar"),
    })
}

fn sink(address: &str, directory: &Path, option: &str) -> io::Result<()> {
    for stream in TcpListener::bind(address)?.incoming() {
        // A connection that only asks whether somebody listens ends at once.
        if let Err(error) = serve(stream?, directory, option) {
            eprintln!("note: {error}");
        }
    }
    Ok(())
}

fn serve(stream: TcpStream, directory: &Path, option: &str) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    let request = read_head(&mut reader)?;
    let stored = directory.join("packed");
    if request.starts_with("PUT ") {
        receive(&mut reader, &mut File::create(&stored)?)?;
        let tree = directory.join("tree");
        if tree.exists() {
            fs::remove_dir_all(&tree)?;
        }
        fs::create_dir(&tree)?;
        let status = Command::new("tar")
            .arg("--extract")
            .arg(format!("--{option}"))
            .arg("--file")
            .arg(&stored)
            .arg("--directory")
            .arg(&tree)
            .stdin(Stdio::null())
            .status()?;
        let answer = if status.success() {
            "200 OK"
        } else {
            "422 Unprocessable Content"
        };
        write!(writer, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n")
    } else if request.starts_with("GET ") {
        write!(
            writer,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        )?;
        send(&mut File::open(&stored)?, &mut writer)
    } else {
        Ok(())
    }
}

fn upload(address: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "PUT /tree HTTP/1.1\r\nhost: {address}\r\ntransfer-encoding: chunked\r\n\r\n"
    )?;
    send(&mut io::stdin().lock(), &mut stream)?;
    expect_success(&read_head(&mut BufReader::new(stream))?)
}

fn download(address: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET /tree HTTP/1.1\r\nhost: {address}\r\n\r\n")?;
    let mut reader = BufReader::new(stream);
    expect_success(&read_head(&mut reader)?)?;
    receive(&mut reader, &mut io::stdout().lock())
}

fn expect_success(head: &str) -> io::Result<()> {
    if head.starts_with("HTTP/1.1 200 ") {
        Ok(())
    } else {
        Err(io::Error::other(format!("the sink answered `{head}`")))
    }
}

/// Reads up to the empty line and returns the first one.
fn read_head(reader: &mut impl io::BufRead) -> io::Result<String> {
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 && line != "\r\n" {
        line.clear();
    }
    Ok(first)
}

/// Copies everything as chunks.
fn send(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let length = from.read(&mut buffer)?;
        write!(to, "{length:x}\r\n")?;
        to.write_all(&buffer[..length])?;
        to.write_all(b"\r\n")?;
        if length == 0 {
            return to.flush();
        }
    }
}

/// Copies everything out of chunks.
fn receive(from: &mut impl io::BufRead, to: &mut impl Write) -> io::Result<()> {
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        let copied = io::copy(&mut from.by_ref().take(length), to)?;
        if copied < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.clear();
        from.read_line(&mut line)?;
        if length == 0 {
            return to.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_what_was_sent() {
        let bytes = crate::noise::noise(1, 1 << 20);
        let mut sent = Vec::new();
        send(&mut bytes.as_slice(), &mut sent).unwrap();
        let mut received = Vec::new();
        receive(&mut sent.as_slice(), &mut received).unwrap();
        assert_eq!(bytes, received);
        let cut = &sent[..sent.len() - 10];
        assert!(receive(&mut &cut[..], &mut Vec::new()).is_err());
    }
}
