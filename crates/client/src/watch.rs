//! A watch: newline-delimited JSON frames, parsed as they arrive.

use crate::Body;
use api::{Error, Result};
use bytes::{Buf, BytesMut};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

/// The most that one frame may hold: an object of the largest size that the server stores, and room.
const FRAME_BYTES_MAX: usize = 16 << 20;

/// One change to the watched objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent<T = Value> {
    Added(T),
    Modified(T),
    Deleted(T),
    /// Nothing changed up to this resourceVersion.
    Bookmark(String),
}

/// The changes of a watch. Ends when the server ends it; an error is the last item.
pub type WatchStream<T = Value> = BoxStream<'static, Result<WatchEvent<T>>>;

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// Reads the frames of a body. An `ERROR` frame becomes `Err` and ends the stream.
pub(crate) fn events<T: DeserializeOwned + Send + 'static>(body: Body) -> WatchStream<T> {
    let open = Some(Frames { body, buffer: BytesMut::new(), searched: 0 });
    stream::unfold(open, |state| async {
        let mut frames = state?;
        match frames.next().await.transpose()? {
            Ok(event) => Some((Ok(event), Some(frames))),
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

struct Frames {
    body: Body,
    /// What has arrived and is not yet parsed.
    buffer: BytesMut,
    /// How much of the buffer is known to hold no end of line.
    searched: usize,
}

impl Frames {
    async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<WatchEvent<T>>> {
        loop {
            if let Some(end) = self.buffer[self.searched..].iter().position(|&b| b == b'\n') {
                let line = self.buffer.split_to(self.searched + end);
                self.buffer.advance(1);
                self.searched = 0;
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return parse(&line).map(Some);
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > FRAME_BYTES_MAX {
                return Err(Error::internal("a watch event is larger than any object"));
            }
            match self.body.next().await.transpose()? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => {
                    let rest = self.buffer.split();
                    self.searched = 0;
                    let complete = !rest.iter().all(u8::is_ascii_whitespace);
                    return if complete { parse(&rest).map(Some) } else { Ok(None) };
                }
            }
        }
    }
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<WatchEvent<T>> {
    let frame: Frame = serde_json::from_slice(line).map_err(Error::internal)?;
    let object = || serde_json::from_str::<T>(frame.object.get()).map_err(Error::internal);
    match frame.kind {
        "ADDED" => Ok(WatchEvent::Added(object()?)),
        "MODIFIED" => Ok(WatchEvent::Modified(object()?)),
        "DELETED" => Ok(WatchEvent::Deleted(object()?)),
        "BOOKMARK" => {
            let bookmark: Value = serde_json::from_str(frame.object.get()).map_err(Error::internal)?;
            let version = bookmark["metadata"]["resourceVersion"].as_str().unwrap_or_default();
            Ok(WatchEvent::Bookmark(version.to_owned()))
        }
        "ERROR" => {
            let status: Value = serde_json::from_str(frame.object.get()).map_err(Error::internal)?;
            let code = status["code"].as_u64().and_then(|c| c.try_into().ok()).unwrap_or(500);
            Err(Error::from_status(code, &status))
        }
        other => Err(Error::internal(format!("a watch event has the unknown type {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use serde_json::json;

    async fn read(body: &str, chunk: usize) -> Vec<Result<WatchEvent>> {
        let chunks: Vec<Result<Bytes>> = body.as_bytes().chunks(chunk).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        events(stream::iter(chunks).boxed()).collect().await
    }

    #[tokio::test]
    async fn frames_are_found_however_they_are_cut() {
        let body = concat!(
            r#"{"type":"ADDED","object":{"a":"x\ny"}}"#,
            "\n\n",
            r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7"}}}"#,
            "\n",
            r#"{"object":{"b":1},"type":"DELETED"}"#,
        );
        let expected = [
            WatchEvent::Added(json!({"a": "x\ny"})),
            WatchEvent::Bookmark("7".into()),
            WatchEvent::Deleted(json!({"b": 1})),
        ];
        for chunk in 1..body.len() + 1 {
            let events: Vec<WatchEvent> = read(body, chunk).await.into_iter().map(|e| e.expect("an event")).collect();
            assert_eq!(events, expected, "in pieces of {chunk}");
        }
    }

    #[tokio::test]
    async fn an_error_frame_is_the_last_item() {
        let frame = json!({"type": "ERROR", "object": Error::expired("too old resource version").to_status()});
        let events = read(&format!("{frame}\n{}\n", json!({"type": "ADDED", "object": {}})), 1000).await;
        assert_eq!(events.len(), 1);
        assert!(events[0].as_ref().expect_err("an error").is_expired());
    }

    #[tokio::test]
    async fn garbage_is_an_error_not_a_panic() {
        for body in ["{", "[]\n", "{\"type\":\"ADDED\"}\n", "{\"type\":\"OTHER\",\"object\":{}}\n"] {
            assert!(read(body, 3).await.pop().expect("an item").is_err(), "{body}");
        }
    }

    #[test]
    fn damaged_frames_end_the_watch_or_pass() {
        let sample = concat!(
            r#"{"type":"ADDED","object":{"kind":"Pod","metadata":{"name":"a","resourceVersion":"5"}}}"#,
            "\n",
            r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}"#,
            "\n",
            r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"old"}}"#,
            "\n",
        );
        fuzz::fuzz(&[sample], |bytes| {
            let body = stream::iter([Ok(Bytes::copy_from_slice(bytes))]).boxed();
            let read = events::<Value>(body).collect::<Vec<_>>();
            assert!(futures::FutureExt::now_or_never(read).is_some(), "bytes in memory are never waited for");
        });
    }
}
