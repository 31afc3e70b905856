//! Watchers that count what they are told, by the ends of lines.

use crate::connection::{Connection, Error, Target, text};
use crate::objects;
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::time::{Duration, Instant};

/// A server that says nothing for this long has lost events.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// Starts to watch a collection after a version.
pub async fn open(
    target: &Target,
    connection: &mut Connection,
    collection: &str,
    version: &str,
) -> Result<Incoming, Error> {
    let path = format!("{collection}?watch=true&resourceVersion={version}");
    Ok(connection.send(target.request(Method::GET, &path, Bytes::new())?).await?.into_body())
}

/// Reads until `wanted` events are there. Returns how many there were.
pub async fn count(mut body: Incoming, wanted: usize) -> Result<usize, Error> {
    let mut events = 0;
    while events < wanted {
        let Some(chunk) = next(&mut body).await? else { break };
        events += chunk.iter().filter(|&&b| b == b'\n').count();
    }
    Ok(events)
}

/// As [`count`], and tells when the object of each number arrived.
pub async fn arrivals(body: Incoming, prefix: &str, wanted: usize) -> Result<Vec<(usize, Instant)>, Error> {
    let mut arrived = Vec::new();
    let mut lines = Lines::of(body);
    while arrived.len() < wanted {
        let Ok(read) = tokio::time::timeout(SILENCE_MAX, lines.next()).await else { break };
        let Some((now, read)) = read? else { break };
        arrived.extend(read.iter().filter_map(|line| Some((objects::number(prefix, line)?, now))));
    }
    Ok(arrived)
}

/// The events of a watch, a line each.
pub struct Lines {
    body: Incoming,
    /// The begin of a line whose end has not come yet.
    rest: Vec<u8>,
}

impl Lines {
    pub fn of(body: Incoming) -> Lines {
        Lines { body, rest: Vec::new() }
    }

    /// The next whole lines and when they came; `None` when the server ends the watch.
    pub async fn next(&mut self) -> Result<Option<(Instant, Vec<Vec<u8>>)>, Error> {
        loop {
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let Ok(chunk) = frame.map_err(text)?.into_data() else { continue };
            let now = Instant::now();
            let mut lines = Vec::new();
            for part in chunk.split_inclusive(|&b| b == b'\n') {
                self.rest.extend_from_slice(part);
                if self.rest.ends_with(b"\n") {
                    lines.push(std::mem::take(&mut self.rest));
                }
            }
            if !lines.is_empty() {
                return Ok(Some((now, lines)));
            }
        }
    }
}

/// `None` when the server ends the watch or is silent for too long.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Error> {
    loop {
        let Ok(frame) = tokio::time::timeout(SILENCE_MAX, body.frame()).await else { return Ok(None) };
        let Some(frame) = frame else { return Ok(None) };
        if let Ok(data) = frame.map_err(text)?.into_data() {
            return Ok(Some(data));
        }
    }
}
