//! The protobuf encodings of stored objects, derived from their bytes when they are first asked for, and kept for the next
//! reader and watcher.
//!
//! Invariant: an encoding is found by the very bytes that it was made of, and by nothing that another tenant's object could
//! share with them. What is kept is bounded; the oldest goes first.

use api::{Kind, Object, Result};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};

/// So much of objects and their encodings is kept at most, over all shards.
const KEPT_BYTES_MAX: usize = 32 * 1024 * 1024;
const SHARDS: usize = 16;

/// The kept encodings of a server.
#[derive(Default)]
pub struct Encodings {
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    /// By the address of the object's bytes, which the entry keeps from being used for others.
    kept: HashMap<usize, Entry>,
    order: VecDeque<usize>,
    bytes: usize,
}

struct Entry {
    object: Bytes,
    encoding: Bytes,
}

impl Entry {
    fn is_of(&self, object: &Object) -> bool {
        #[cfg(test)]
        if crate::planted::is(crate::planted::Fault::EncodingsByName) {
            return true;
        }
        self.object.len() == object.bytes.len()
    }

    fn bytes(&self) -> usize {
        self.object.len() + self.encoding.len()
    }
}

impl Encodings {
    /// The message of an object of its stored kind, without an envelope.
    pub fn message(&self, kind: &Kind, object: &Object) -> Result<Bytes> {
        let at = object.bytes.as_ptr() as usize;
        #[cfg(test)]
        let at = crate::planted::encoding_at(object, at);
        // The lowest bits are often the same.
        let shard = &self.shards[(at >> 4) % SHARDS];
        if let Some(entry) = shard.lock().kept.get(&at).filter(|entry| entry.is_of(object)) {
            return Ok(entry.encoding.clone());
        }
        let encoding: Bytes = message(kind, &object.to_value()?)?.into();
        shard.lock().keep(at, Entry { object: object.bytes.clone(), encoding: encoding.clone() });
        Ok(encoding)
    }
}

/// The message of a value of a kind, without an envelope.
pub fn message(kind: &Kind, value: &serde_json::Value) -> Result<Vec<u8>> {
    schema::protobuf::message(schema::builtin(), &kind.group, &kind.version, &kind.kind, value)
}

impl Shard {
    fn keep(&mut self, at: usize, entry: Entry) {
        self.bytes += entry.bytes();
        self.order.push_back(at);
        if let Some(replaced) = self.kept.insert(at, entry) {
            self.bytes -= replaced.bytes();
            self.order.retain(|kept| *kept != at);
            self.order.push_back(at);
        }
        while self.bytes > KEPT_BYTES_MAX / SHARDS
            && let Some(oldest) = self.order.pop_front()
        {
            let gone = self.kept.remove(&oldest);
            self.bytes -= gone.as_ref().map_or(0, Entry::bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{ObjectKey, ResourceId, Space, TenantName};
    use serde_json::json;

    fn object(name: &str, data: &str) -> Object {
        let key =
            ObjectKey::new(ResourceId::new("", "configmaps"), Space::Tenant(TenantName::system()), "default", name);
        let mut value =
            json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"k": data}});
        Object::encode(key.expect("a key"), &mut value, &[]).expect("an object")
    }

    #[test]
    fn an_encoding_is_made_once_and_what_is_kept_is_bounded() {
        let kind = kinds::registry().find("", "v1", "configmaps").expect("config maps");
        let encodings = Encodings::default();
        let small = object("a", "v");
        let first = encodings.message(kind, &small).expect("an encoding");
        assert_eq!(encodings.message(kind, &small).expect("an encoding").as_ptr(), first.as_ptr());
        let other = encodings.message(kind, &object("a", "w")).expect("an encoding");
        assert_ne!(first, other);
        for i in 0..5_000 {
            let (object, encoding) = (Bytes::from_static(&[0; 10_000]), Bytes::from_static(&[0; 9_000]));
            encodings.shards[i % SHARDS].lock().keep(i, Entry { object, encoding });
        }
        let kept: usize = encodings.shards.iter().map(|shard| shard.lock().bytes).sum();
        assert!(kept <= KEPT_BYTES_MAX, "{kept}");
        let counted: usize =
            encodings.shards.iter().map(|s| s.lock().kept.values().map(Entry::bytes).sum::<usize>()).sum();
        assert_eq!(kept, counted);
    }
}
