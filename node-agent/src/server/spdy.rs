//! As much of SPDY/3.1 as a client of a runtime's streaming server needs.
//!
//! ```text
//!   control: |1| version:15 | type:16 | flags:8 | length:24 | payload        data: |0| stream:31 | flags:8 | length:24 | payload
//!   SYN_STREAM: stream:32 associated:32 priority:8 slot:8 headers            headers: zlib( count:32 (length:32 name length:32 value)* )
//! ```
//!
//! Header blocks of one connection are one zlib stream. Ours is written as stored blocks, which every inflater reads and
//! which refer to no dictionary; the few headers that we send are not worth compressing. An empty block after each makes
//! inflaters hand out what they have. What the server says in headers is not needed, so that nothing is inflated. There is
//! no flow control, as in every server of this protocol.

use bytes::{BufMut, Bytes, BytesMut};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const CONTROL: u16 = 0x8000;
const VERSION: u16 = 3;
const SYN_STREAM: u16 = 1;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const FLAG_FIN: u8 = 1;

/// Larger frames than any server sends are not read.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Data is sent in frames of at most this.
const DATA_BYTES_MAX: usize = 64 << 10;

/// A frame that matters to a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    Data {
        stream: u32,
        bytes: Bytes,
        is_last: bool,
    },
    /// The server wants nothing more to do with a stream.
    Reset {
        stream: u32,
    },
    /// To be answered with the same number.
    Ping(u32),
    GoAway,
}

/// The reading half.
pub struct Reader<R>(R);

/// The writing half.
pub struct Writer<W> {
    inner: W,
    next_stream: u32,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub fn new(inner: R) -> Reader<R> {
        Reader(inner)
    }

    /// The next frame that matters; `None` at the end of the connection. Not cancel-safe.
    pub async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let mut head = [0; 8];
            match self.0.read_exact(&mut head).await {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error),
            }
            let [a, b, c, d, flags, e, f, g] = head;
            let length = u32::from_be_bytes([0, e, f, g]) as usize;
            if length > FRAME_BYTES_MAX {
                return Err(io::Error::other(format!("a SPDY frame of {length} bytes")));
            }
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).await?;
            let word = |at: usize| payload.get(at..at + 4).map(|w| u32::from_be_bytes([w[0] & 0x7f, w[1], w[2], w[3]]));
            if u16::from_be_bytes([a, b]) & CONTROL == 0 {
                let stream = u32::from_be_bytes([a, b, c, d]);
                return Ok(Some(Frame::Data { stream, bytes: payload.into(), is_last: flags & FLAG_FIN != 0 }));
            }
            match (u16::from_be_bytes([c, d]), word(0)) {
                (RST_STREAM, Some(stream)) => return Ok(Some(Frame::Reset { stream })),
                (PING, Some(number)) => return Ok(Some(Frame::Ping(number))),
                (GOAWAY, _) => return Ok(Some(Frame::GoAway)),
                // Replies to our streams, settings, windows.
                _ => {}
            }
        }
    }
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub fn new(inner: W) -> Writer<W> {
        Writer { inner, next_stream: 1 }
    }

    /// Opens a stream with one header; its number.
    pub async fn open(&mut self, name: &str, value: &str) -> io::Result<u32> {
        let stream = self.next_stream;
        let mut block = BytesMut::new();
        block.put_u32(1);
        for text in [name, value] {
            block.put_u32(u32::try_from(text.len()).map_err(io::Error::other)?);
            block.put_slice(text.as_bytes());
        }
        let mut payload = BytesMut::new();
        payload.put_u32(stream);
        payload.put_u32(0);
        payload.put_u16(0);
        if stream == 1 {
            // The zlib stream begins: deflate, 32 KiB window, no dictionary.
            payload.put_slice(&[0x78, 0x01]);
        }
        for stored in [&block[..], &[]] {
            let length = u16::try_from(stored.len()).map_err(io::Error::other)?;
            payload.put_u8(0);
            payload.put_u16_le(length);
            payload.put_u16_le(!length);
            payload.put_slice(stored);
        }
        self.control(SYN_STREAM, &payload).await?;
        self.next_stream += 2;
        Ok(stream)
    }

    /// Sends data on a stream.
    pub async fn send(&mut self, stream: u32, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(DATA_BYTES_MAX) {
            self.data(stream, 0, part).await?;
        }
        self.inner.flush().await
    }

    /// Says that nothing more is sent on a stream.
    pub async fn finish(&mut self, stream: u32) -> io::Result<()> {
        self.data(stream, FLAG_FIN, &[]).await?;
        self.inner.flush().await
    }

    /// Answers a ping.
    pub async fn pong(&mut self, number: u32) -> io::Result<()> {
        self.control(PING, &number.to_be_bytes()).await
    }

    async fn data(&mut self, stream: u32, flags: u8, bytes: &[u8]) -> io::Result<()> {
        self.frame(stream.to_be_bytes(), flags, bytes).await
    }

    async fn control(&mut self, kind: u16, payload: &[u8]) -> io::Result<()> {
        let [a, b] = (CONTROL | VERSION).to_be_bytes();
        let [c, d] = kind.to_be_bytes();
        self.frame([a, b, c, d], 0, payload).await?;
        self.inner.flush().await
    }

    async fn frame(&mut self, head: [u8; 4], flags: u8, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let mut frame = BytesMut::with_capacity(8 + payload.len());
        frame.put_slice(&head);
        frame.put_u32(u32::from(flags) << 24 | length);
        frame.put_slice(payload);
        self.inner.write_all(&frame).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_that_matter_are_read_and_others_passed_over() {
        let mut sent = Vec::new();
        // A reply and a settings frame, which say nothing to us.
        sent.extend_from_slice(&[0x80, 3, 0, 2, 0, 0, 0, 5, 0, 0, 0, 1, 9]);
        sent.extend_from_slice(&[0x80, 3, 0, 4, 0, 0, 0, 4, 0, 0, 0, 0]);
        sent.extend_from_slice(&[0, 0, 0, 5, 1, 0, 0, 2, b'h', b'i']);
        sent.extend_from_slice(&[0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 8]);
        sent.extend_from_slice(&[0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0, 5]);
        sent.extend_from_slice(&[0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
        let mut reader = Reader::new(sent.as_slice());
        let mut frames = Vec::new();
        while let Some(frame) = reader.next().await.expect("a frame") {
            frames.push(frame);
        }
        let data = Frame::Data { stream: 5, bytes: "hi".into(), is_last: true };
        assert_eq!(frames, [data, Frame::Ping(8), Frame::Reset { stream: 3 }, Frame::GoAway]);
    }

    #[tokio::test]
    async fn a_frame_that_is_too_large_is_refused() {
        let mut reader = Reader::new([0, 0, 0, 1, 0, 0xff, 0xff, 0xff].as_slice());
        assert!(reader.next().await.is_err());
    }

    #[tokio::test]
    async fn what_is_written_reads_back() {
        let mut sent = Vec::new();
        let mut writer = Writer::new(&mut sent);
        assert_eq!(writer.open("streamtype", "error").await.expect("written"), 1);
        assert_eq!(writer.open("streamtype", "stdin").await.expect("written"), 3);
        writer.send(3, &[b'x'; DATA_BYTES_MAX + 1]).await.expect("written");
        writer.finish(3).await.expect("written");
        assert_eq!(&sent[..12], [0x80, 3, 0, 1, 0, 0, 0, 49, 0, 0, 0, 1]);
        // zlib header, then a stored block of 27 bytes: one pair.
        assert_eq!(&sent[18..29], [0x78, 1, 0, 27, 0, !27, 0xff, 0, 0, 0, 1]);
        let mut reader = Reader::new(sent.as_slice());
        let mut lengths = Vec::new();
        while let Some(Frame::Data { stream: 3, bytes, is_last }) = reader.next().await.expect("a frame") {
            lengths.push((bytes.len(), is_last));
        }
        assert_eq!(lengths, [(DATA_BYTES_MAX, false), (1, false), (0, true)]);
    }

    #[test]
    fn damaged_frames_are_read_or_refused() {
        let reset = [0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 5, 0, 0, 0, 1];
        let data = [0, 0, 0, 5, 1, 0, 0, 3, b'a', b'b', b'c'];
        let ping = [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 9];
        fuzz::fuzz(&[[&reset[..], &data, &ping].concat()], |bytes| {
            let mut reader = Reader::new(bytes);
            let read = async { while let Ok(Some(_)) = reader.next().await {} };
            assert!(futures::FutureExt::now_or_never(read).is_some(), "bytes in memory are never waited for");
        });
    }
}
