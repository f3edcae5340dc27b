//! A WebSocket client of our own: as little as the protocol asks, so that ten thousand cost the
//! machine next to nothing beside what is measured.

use std::net::SocketAddr;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Most bytes of an answer's header.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Bytes read at once.
const READ_BYTES: usize = 2048;

/// Longest frame that is read.
const FRAME_BYTES_MAX: usize = 1024 * 1024;

const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

pub(super) struct Socket {
    stream: TcpStream,
    /// What was read and not looked at yet.
    bytes: Vec<u8>,
}

impl Socket {
    /// Connects from `from` and asks for `path`, with `headers` as they are written.
    pub(super) async fn open(
        to: SocketAddr,
        from: SocketAddr,
        path: &str,
        headers: &str,
    ) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(from)?;
        let mut stream = socket.connect(to).await.context("could not connect")?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {to}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             {headers}\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            ensure!(bytes.len() < HEAD_BYTES_MAX, "the answer has no end");
            let read = stream.read_buf(&mut bytes).await?;
            ensure!(read > 0, "the connection was closed before it was upgraded");
        };
        if !bytes.starts_with(b"HTTP/1.1 101") {
            let line = bytes.split(|byte| *byte == b'\r').next();
            bail!(
                "no socket: {}",
                String::from_utf8_lossy(line.unwrap_or_default())
            );
        }
        bytes.drain(..end);
        Ok(Self { stream, bytes })
    }

    /// The next text frame; `None` when the server has said goodbye. Pings are answered.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<String>> {
        loop {
            if let Some(frame) = frame_in(&self.bytes)? {
                let payload = self.bytes[frame.start..frame.end].to_vec();
                self.bytes.drain(..frame.end);
                if self.bytes.is_empty() {
                    self.bytes = Vec::new();
                }
                match frame.opcode {
                    TEXT => return Ok(Some(String::from_utf8(payload)?)),
                    CLOSE => return Ok(None),
                    PING => self.say(PONG, &payload).await?,
                    _ => {}
                }
                continue;
            }
            // Waiting costs no buffer.
            self.stream.readable().await?;
            let mut chunk = [0; READ_BYTES];
            match self.stream.try_read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(read) => self.bytes.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends a short frame, masked with zeros as the protocol wants it.
    async fn say(&mut self, opcode: u8, payload: &[u8]) -> anyhow::Result<()> {
        ensure!(payload.len() < 126, "only short frames are sent");
        let mut frame = vec![0x80 | opcode, 0x80 | payload.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame).await?;
        Ok(())
    }
}

/// Where a frame's payload lies in what was read.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    opcode: u8,
    start: usize,
    end: usize,
}

/// The first whole frame, if there is one. Servers send each message in one and mask nothing.
fn frame_in(bytes: &[u8]) -> anyhow::Result<Option<Frame>> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    let (length, start) = match (second & 0x7f, rest) {
        (126, [high, low, ..]) => (usize::from(u16::from_be_bytes([*high, *low])), 4),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            let length = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
            (usize::try_from(length)?, 10)
        }
        (126 | 127, _) => return Ok(None),
        (short, _) => (usize::from(short), 2),
    };
    ensure!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes");
    let end = start + length;
    let frame = Frame {
        opcode: first & 0x0f,
        start,
        end,
    };
    Ok((bytes.len() >= end).then_some(frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_once_they_are_whole() {
        let mut long = vec![0x81, 126, 1, 0];
        long.extend([b'x'; 256]);

        assert_eq!(frame_in(&[0x81]).unwrap(), None);
        assert_eq!(frame_in(&[0x81, 3, b'a', b'b']).unwrap(), None);
        let short = frame_in(&[0x81, 2, b'a', b'b', 0x89]).unwrap().unwrap();
        assert_eq!((short.opcode, short.start, short.end), (TEXT, 2, 4));
        assert_eq!(frame_in(&long[..259]).unwrap(), None);
        let long = frame_in(&long).unwrap().unwrap();
        assert_eq!((long.start, long.end), (4, 260));
        assert!(frame_in(&[0x81, 127, 1, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }
}
