//! Watches: the changes of what a list covers, as a stream of frames (guarantees G11 to G15).

use super::{Call, list};
use crate::custom::Custom;
use crate::encodings::Encodings;
use crate::negotiate::{Accepted, Encoding, Form};
use crate::options::ListOptions;
use crate::projection::Projection;
use crate::respond;
use api::{Error, Kind, Object, Result};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::stream;
use http::{HeaderValue, Response, header};
use kinds::IncludeObject;
use rand::RngExt;
use runtime::Stop;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use store::{Delivery, EventKind, Version, Watch, WatchEnded};
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
    // What is there at a revision cannot be sent before it; changes after it come when they come.
    let unreached = match &options.resource_version {
        Some(version) if options.send_initial_events == Some(true) => list::reach(call, version).await.err(),
        _ => None,
    };
    let scope = call.target.scope(call.kind, call.namespace)?;
    #[cfg(test)]
    let scope = crate::planted::scope(crate::planted::Fault::WatchWithoutTenant, scope);
    let from = options.resource_version.clone().filter(|version| version.newest() > 0);
    let initial = match options.send_initial_events {
        Some(wanted) => wanted,
        None => from.is_none(),
    };
    let snapshot = call.server.store.snapshot();
    let now = snapshot.version(&scope);
    let after = if initial { now } else { from.unwrap_or(now) };
    let frames = Frames {
        kind: call.kind.clone(),
        storage: call.server.storage_kind(call.kind).cloned(),
        custom: call.custom.cloned(),
        projection: call.projection(),
        accepted,
        include,
        encodings: call.server.encodings.clone(),
        columns_sent: false,
    };
    let watch = match unreached {
        Some(error) => Err(error),
        None => call
            .server
            .store
            .watch(&scope, &options.selector, &after)
            .map_err(|too_old| Error::expired(format!("too old resource version: {after} ({})", too_old.oldest))),
    };
    let (watch, mut pending) = match watch {
        Ok(watch) => (Some(watch), None),
        Err(error) => (None, Some(Pending::Error(error))),
    };
    let mut present = Vec::new();
    if initial && watch.is_some() {
        present.extend(snapshot.range(&scope, None).filter(|object| options.selector.matches(object)).cloned());
        let shared = crate::shared::objects(call, &snapshot);
        present.extend(shared.into_iter().filter(|object| options.selector.matches(object)));
        if options.send_initial_events == Some(true) && options.bookmarks {
            pending = Some(Pending::InitialEnd(after));
        }
    }
    call.ready(&present).await?;
    let lifetime = options.timeout.unwrap_or_else(|| DEFAULT_LIFETIME.mul_f64(rand::rng().random_range(1.0..2.0)));
    let mut bookmarks = tokio::time::interval_at(Instant::now() + BOOKMARK_PERIOD, BOOKMARK_PERIOD);
    bookmarks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let state = Box::new(State {
        present: present.into_iter(),
        pending,
        watch,
        frames,
        owes_bookmark: false,
        bookmarks: options.bookmarks.then_some(bookmarks),
        ends: Instant::now() + lifetime,
        stop: call.server.stop.clone(),
        store: call.server.store.clone(),
        _open: call.server.metrics.watches.open(),
    });
    let body = Body::from_stream(stream::unfold(state, |mut state| async move {
        let frame = state.next().await?;
        Some((Ok::<Bytes, Infallible>(frame), state))
    }));
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(accepted.encoding.stream_type()));
    Ok(response)
}

/// What follows the objects that were there at the start.
enum Pending {
    InitialEnd(Version),
    Error(Error),
}

struct State {
    /// What was there at the start and is still to be sent.
    present: std::vec::IntoIter<Arc<Object>>,
    /// What is said after that.
    pending: Option<Pending>,
    /// `None` once the stream is to end after what is pending.
    watch: Option<Watch>,
    frames: Frames,
    /// Events of several partitions were sent, which do not say where to go on.
    owes_bookmark: bool,
    bookmarks: Option<Interval>,
    ends: Instant,
    stop: Stop,
    store: store::Store,
    _open: crate::metrics::Open,
}

impl State {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(chunk) = self.frames.chunk(&mut self.present) {
            return Some(chunk);
        }
        // A long list would stay as long as the watch.
        self.present = Vec::new().into_iter();
        if let Some(custom) = &self.frames.custom {
            custom.shown();
        }
        match self.pending.take() {
            Some(Pending::InitialEnd(version)) => return Some(self.frames.bookmark(&version, true)),
            Some(Pending::Error(error)) => return Some(self.frames.error(&error)),
            None => {}
        }
        let owes_bookmark = std::mem::take(&mut self.owes_bookmark);
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
            _ = tick => Some(self.frames.bookmark(&watch.progress(), false)),
            // Cancel-safe by the store's promise; last, because it is the busiest.
            delivery = next_or_idle(watch, owes_bookmark) => Some(match delivery {
                None => self.frames.bookmark(&watch.progress(), false),
                Some(Ok(delivery)) => {
                    self.owes_bookmark = watch.is_merged() && self.bookmarks.is_some();
                    let frame = match self.frames.ready(&delivery.object).await {
                        Ok(()) => self.frames.delivery(&delivery),
                        Err(error) => {
                            self.watch = None;
                            return Some(self.frames.error(&error));
                        }
                    };
                    // Under another definition, what follows is another kind's: the client watches again.
                    if self.frames.custom.as_ref().is_some_and(|custom| !custom.is_unchanged(&self.store)) {
                        self.watch = None;
                    }
                    frame
                }
                Some(Err(WatchEnded::Lagged)) => {
                    self.watch = None;
                    self.frames.error(&Error::expired("the watch fell too far behind; list again"))
                }
                Some(Err(WatchEnded::Closed)) => return None,
            }),
        }
    }
}

/// The next event; where a bookmark is owed, `None` if there is none yet. Cancel-safe as the watch is.
async fn next_or_idle(watch: &mut Watch, owes_bookmark: bool) -> Option<Result<Delivery, WatchEnded>> {
    if owes_bookmark { watch.try_next() } else { Some(watch.next().await) }
}

/// Writes frames in the form that the client accepts. Stored bytes are sent as they are where that is possible.
struct Frames {
    kind: Arc<Kind>,
    /// The stored view of the kind, where it is another.
    storage: Option<Arc<Kind>>,
    /// The definition that the kind comes from, as it was when the watch began.
    custom: Option<Custom>,
    projection: Option<Projection>,
    accepted: Accepted,
    include: IncludeObject,
    encodings: Arc<Encodings>,
    /// Only the first table of a stream names its columns.
    columns_sent: bool,
}

impl Frames {
    fn plain(&self, object: &Object) -> bool {
        self.accepted == Accepted::JSON
            && self.storage.is_none()
            && self.projection.is_none()
            && self.custom.as_ref().is_none_or(|custom| custom.shows_stored(object))
    }

    /// Makes an object ready to be shown.
    async fn ready(&self, object: &Arc<Object>) -> Result<()> {
        match &self.custom {
            Some(custom) => custom.ready(std::slice::from_ref(object)).await,
            None => Ok(()),
        }
    }

    fn delivery(&mut self, delivery: &Delivery) -> Bytes {
        if self.plain(&delivery.object) { delivery.frame() } else { self.event(delivery.kind, &delivery.object) }
    }

    /// The next of the objects as ADDED events, several in one piece; `None` when all are sent.
    fn chunk(&mut self, objects: &mut std::vec::IntoIter<Arc<Object>>) -> Option<Bytes> {
        let mut chunk = BytesMut::new();
        while chunk.len() < CHUNK_BYTES
            && let Some(object) = objects.next()
        {
            chunk.extend_from_slice(&self.event(EventKind::Added, &object));
        }
        (!chunk.is_empty()).then(|| chunk.freeze())
    }

    fn event(&mut self, kind: EventKind, object: &Object) -> Bytes {
        if self.plain(object) {
            let mut frame = Vec::with_capacity(object.bytes.len() + 40);
            frame.extend_from_slice(b"{\"type\":\"");
            frame.extend_from_slice(kind.as_str().as_bytes());
            frame.extend_from_slice(b"\",\"object\":");
            frame.extend_from_slice(&object.bytes);
            frame.extend_from_slice(b"}\n");
            return frame.into();
        }
        let framed = match (self.storage.is_none() && self.projection.is_none(), self.accepted) {
            (true, Accepted { form: Form::Object, encoding: Encoding::Protobuf, .. }) => self.stored(kind, object),
            _ => self.value(object).map(|shown| self.frame(kind.as_str(), &shown)),
        };
        framed.unwrap_or_else(|error| self.error(&error))
    }

    /// A stored object's own encoding in a frame.
    fn stored(&self, kind: EventKind, object: &Object) -> Result<Bytes> {
        let message = self.encodings.message(&self.kind, object)?;
        let enveloped = schema::protobuf::envelope(&self.kind.api_version(), &self.kind.kind, &message);
        Ok(schema::protobuf::watch_frame(kind.as_str(), &enveloped).into())
    }

    /// An object in the form that the client accepts.
    fn value(&mut self, object: &Object) -> Result<Value> {
        let value = match (&self.custom, &self.storage) {
            (Some(custom), _) => custom.view(object)?,
            (None, Some(storage)) => kinds::convert(object.to_value()?, storage, &self.kind),
            (None, None) => object.to_value()?,
        };
        let value = match &self.projection {
            Some(projection) => projection.shown(&value),
            None => value,
        };
        Ok(self.shown(value))
    }

    fn shown(&mut self, value: Value) -> Value {
        match self.accepted.form {
            Form::Object => value,
            Form::PartialMetadata | Form::PartialMetadataList => list::partial(&self.kind, &value, self.accepted),
            Form::Table => {
                let now = api::Timestamp::now();
                let mut table = list::table(
                    &self.kind,
                    self.custom.as_ref(),
                    std::iter::once(&value),
                    self.accepted,
                    self.include,
                    now,
                );
                table["metadata"]["resourceVersion"] = value["metadata"]["resourceVersion"].clone();
                if std::mem::replace(&mut self.columns_sent, true) {
                    table["columnDefinitions"] = Value::Null;
                }
                table
            }
        }
    }

    /// Everything up to `revision` has been sent.
    fn bookmark(&mut self, version: &Version, initial_end: bool) -> Bytes {
        let mut object = json!({
            "kind": self.kind.kind, "apiVersion": self.kind.api_version(),
            "metadata": {"resourceVersion": version.to_string()},
        });
        if initial_end {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let shown = self.shown(object);
        self.frame("BOOKMARK", &shown)
    }

    fn error(&self, error: &Error) -> Bytes {
        self.frame("ERROR", &error.to_status())
    }

    fn frame(&self, kind: &str, object: &Value) -> Bytes {
        if self.accepted.encoding == Encoding::Protobuf
            && let Some(enveloped) = respond::encode(object, Encoding::Protobuf)
        {
            return schema::protobuf::watch_frame(kind, &enveloped).into();
        }
        respond::encode_json(&json!({"type": kind, "object": object}))
    }
}
