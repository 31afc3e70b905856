//! Watches: the changes of what a list covers, as a stream of frames (guarantees G11 to G15).

use super::{Call, list};
use crate::negotiate::{Accepted, Encoding, Form};
use crate::options::ListOptions;
use api::{Error, Kind, Object, Result, Revision};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::stream;
use http::{HeaderValue, Response, header};
use kinds::IncludeObject;
use rand::RngExt;
use runtime::Stop;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use store::{Delivery, EventKind, Watch, WatchEnded};
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// What is there at the start of a watch is sent in pieces of about this size.
const CHUNK_BYTES: usize = 64 * 1024;

/// How often an idle watch that asked for bookmarks gets one.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);

/// A watch without a timeout of its own lives between one and two of these.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(1800);

/// Answers with a stream of events that ends at the client's timeout, at shutdown, or with an ERROR event.
pub async fn watch(
    call: Call<'_>,
    options: &ListOptions,
    accepted: Accepted,
    include: IncludeObject,
) -> Result<Response<Body>> {
    if let Some(version) = options.resource_version {
        list::reach(call, version).await?;
    }
    let scope = call.target.scope(call.kind, call.namespace)?;
    let from = options.resource_version.filter(|&version| version > 0);
    let initial = match options.send_initial_events {
        Some(wanted) => wanted,
        None => from.is_none(),
    };
    let snapshot = call.server.store.snapshot();
    let after = if initial { snapshot.revision() } else { from.unwrap_or_else(|| snapshot.revision()) };
    let frames = Frames {
        kind: call.kind.clone(),
        storage: call.server.storage_kind(call.kind).cloned(),
        form: accepted.form,
        encoding: accepted.encoding,
        include,
    };
    let mut pending: VecDeque<Bytes> = VecDeque::new();
    let watch = match call.server.store.watch(scope.clone(), options.selector.clone(), after) {
        Ok(watch) => Some(watch),
        Err(too_old) => {
            let error = Error::expired(format!("too old resource version: {after} ({})", too_old.oldest));
            pending.push_back(frames.error(&error));
            None
        }
    };
    let mut present = Vec::new();
    if initial && watch.is_some() {
        present.extend(snapshot.range(&scope, None).filter(|object| options.selector.matches(object)).cloned());
        let shared = crate::shared::objects(call, &snapshot);
        present.extend(shared.into_iter().filter(|object| options.selector.matches(object)));
        if options.send_initial_events == Some(true) && options.bookmarks {
            pending.push_back(frames.bookmark(after, true));
        }
    }
    let lifetime = options.timeout.unwrap_or_else(|| DEFAULT_LIFETIME.mul_f64(rand::rng().random_range(1.0..2.0)));
    let mut bookmarks = tokio::time::interval_at(Instant::now() + BOOKMARK_PERIOD, BOOKMARK_PERIOD);
    bookmarks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let state = State {
        present: present.into_iter(),
        pending,
        watch,
        frames,
        bookmarks: options.bookmarks.then_some(bookmarks),
        ends: Instant::now() + lifetime,
        stop: call.server.stop.clone(),
        _open: call.server.metrics.watches.open(),
    };
    let body = Body::from_stream(stream::unfold(state, |mut state| async move {
        let frame = state.next().await?;
        Some((Ok::<Bytes, Infallible>(frame), state))
    }));
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(accepted.encoding.content_type()));
    Ok(response)
}

struct State {
    /// What was there at the start and is still to be sent.
    present: std::vec::IntoIter<Arc<Object>>,
    pending: VecDeque<Bytes>,
    /// `None` once the stream is to end after what is pending.
    watch: Option<Watch>,
    frames: Frames,
    bookmarks: Option<Interval>,
    ends: Instant,
    stop: Stop,
    _open: crate::metrics::Open,
}

impl State {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(chunk) = self.frames.chunk(&mut self.present) {
            return Some(chunk);
        }
        if let Some(frame) = self.pending.pop_front() {
            return Some(frame);
        }
        let watch = self.watch.as_mut()?;
        let tick = async {
            match &mut self.bookmarks {
                Some(interval) => interval.tick().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            // Both ends are clean ends of the stream, between frames.
            () = self.stop.stopped() => None,
            () = tokio::time::sleep_until(self.ends) => None,
            // Cancel-safe: a tick that is not taken is taken next time.
            _ = tick => Some(self.frames.bookmark(watch.progress(), false)),
            // Cancel-safe by the store's promise; last, because it is the busiest.
            delivery = watch.next() => Some(match delivery {
                Ok(delivery) => self.frames.delivery(&delivery),
                Err(WatchEnded::Lagged) => {
                    self.watch = None;
                    self.frames.error(&Error::expired("the watch fell too far behind; list again"))
                }
                Err(WatchEnded::Closed) => return None,
            }),
        }
    }
}

/// Writes frames in the form that the client accepts. Stored bytes are sent as they are where that is possible.
struct Frames {
    kind: Arc<Kind>,
    /// The stored view of the kind, where it is another.
    storage: Option<Arc<Kind>>,
    form: Form,
    encoding: Encoding,
    include: IncludeObject,
}

impl Frames {
    fn plain(&self) -> bool {
        self.form == Form::Object && self.encoding == Encoding::Json && self.storage.is_none()
    }

    fn delivery(&self, delivery: &Delivery) -> Bytes {
        if self.plain() { delivery.frame() } else { self.event(delivery.kind, &delivery.object) }
    }

    /// The next of the objects as ADDED events, several in one piece; `None` when all are sent.
    fn chunk(&self, objects: &mut std::vec::IntoIter<Arc<Object>>) -> Option<Bytes> {
        let mut chunk = BytesMut::new();
        while chunk.len() < CHUNK_BYTES
            && let Some(object) = objects.next()
        {
            chunk.extend_from_slice(&self.event(EventKind::Added, &object));
        }
        (!chunk.is_empty()).then(|| chunk.freeze())
    }

    fn event(&self, kind: EventKind, object: &Object) -> Bytes {
        if self.plain() {
            let mut frame = Vec::with_capacity(object.bytes.len() + 40);
            frame.extend_from_slice(b"{\"type\":\"");
            frame.extend_from_slice(kind.as_str().as_bytes());
            frame.extend_from_slice(b"\",\"object\":");
            frame.extend_from_slice(&object.bytes);
            frame.extend_from_slice(b"}\n");
            return frame.into();
        }
        let value = match (object.to_value(), &self.storage) {
            (Ok(value), Some(storage)) => kinds::convert(value, storage, &self.kind),
            (Ok(value), None) => value,
            (Err(error), _) => return self.error(&error),
        };
        let shown = match self.form {
            Form::Object => value,
            Form::Table => kinds::table(&self.kind, std::iter::once(&value), self.include, api::Timestamp::now()),
            Form::PartialMetadata => list::partial(&value),
        };
        self.frame(kind.as_str(), &shown)
    }

    /// Everything up to `revision` has been sent.
    fn bookmark(&self, revision: Revision, initial_end: bool) -> Bytes {
        let mut object = json!({
            "kind": self.kind.kind, "apiVersion": self.kind.api_version(),
            "metadata": {"resourceVersion": revision.to_string()},
        });
        match self.form {
            Form::Object => {}
            Form::PartialMetadata => object = list::partial(&object),
            Form::Table => {
                object = json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"], "columnDefinitions": [], "rows": []});
            }
        }
        if initial_end {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        self.frame("BOOKMARK", &object)
    }

    fn error(&self, error: &Error) -> Bytes {
        self.frame("ERROR", &error.to_status())
    }

    fn frame(&self, kind: &str, object: &Value) -> Bytes {
        let event = json!({"type": kind, "object": object});
        match self.encoding {
            Encoding::Json => crate::respond::encode(&event, Encoding::Json),
            Encoding::Yaml => {
                let mut text = b"---\n".to_vec();
                text.extend_from_slice(&crate::respond::encode(&event, Encoding::Yaml));
                text.into()
            }
        }
    }
}
