//! Shares of work: what selectors ask of the hash of an object and of its owners, in Arktos' words.
//!
//! A hash is made of a uid and lies in `0..2^63`. `metadata.hashkey` is the object's own,
//! `metadata.ownerReferences.hashkey.KIND` that of any owner of the kind, and `metadata.ownerReferences.hashkey` that of
//! the owner that controls the object. Values are compared with `gt:`, `gte:`, `lt:`, `lte:` in front of a number, or are
//! the number itself; the empty value is that of an object without such an owner.

use crate::{Error, Header, OwnerHash, Result};

const OWN: &str = "metadata.hashkey";
const OWNERS: &str = "metadata.ownerReferences.hashkey";

/// A hash of a uid, in `0..2^63`: FNV-1a, folded into the positive numbers.
pub fn hash_key(uid: &str) -> u64 {
    const MAX: u64 = i64::MAX as u64;
    let hash = uid
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    if hash > MAX { hash - MAX } else { hash }
}

/// Whose hash a term is about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Of {
    Object,
    /// Any owner of this kind.
    Owner(Box<str>),
    Controller,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
}

/// One term about a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashTerm {
    of: Of,
    compare: Compare,
    /// `None` for the empty value.
    bound: Option<u64>,
}

/// Whether a field selector has such terms.
pub(super) fn asks(text: &str) -> bool {
    text.contains(OWN) || text.contains(OWNERS)
}

impl HashTerm {
    /// Reads a term; `None` for one that is about something else. 400 for what is no number.
    pub(super) fn parse(path: &str, value: &str, equal: bool) -> Result<Option<HashTerm>> {
        let of = match path {
            OWN => Of::Object,
            OWNERS => Of::Controller,
            _ => match path.strip_prefix(OWNERS).and_then(|rest| rest.strip_prefix('.')) {
                Some(kind) if !kind.is_empty() => Of::Owner(kind.into()),
                _ => return Ok(None),
            },
        };
        let compared = [
            ("gte:", Compare::GreaterOrEqual),
            ("gt:", Compare::Greater),
            ("lte:", Compare::LessOrEqual),
            ("lt:", Compare::Less),
        ];
        let found = compared.into_iter().find_map(|(sign, compare)| Some((value.strip_prefix(sign)?, compare)));
        let (number, compare) = match found {
            Some((_, _)) if !equal => {
                return Err(Error::bad_request(format!("invalid field selector: {path}!={value}: a range needs '='")));
            }
            Some(found) => found,
            None => (value, if equal { Compare::Equal } else { Compare::NotEqual }),
        };
        let bound = match number {
            "" if found.is_none() => None,
            _ => Some(number.parse::<i64>().ok().and_then(|n| u64::try_from(n).ok()).ok_or_else(|| {
                Error::bad_request(format!("invalid field selector: {path}: {number:?} is not a hash"))
            })?),
        };
        Ok(Some(HashTerm { of, compare, bound }))
    }

    /// Whether all terms hold of an object. Terms about owners of one kind must hold of the same owner.
    pub(super) fn all_match(terms: &[HashTerm], header: &Header) -> bool {
        terms.iter().all(|term| term.matches(terms, header))
    }

    fn matches(&self, terms: &[HashTerm], header: &Header) -> bool {
        let owners = |is: &dyn Fn(&OwnerHash<'_>) -> bool| -> bool {
            self.holds(terms, header.owners().filter(|owner| is(owner)).map(|owner| owner.hash))
        };
        match &self.of {
            Of::Object => self.holds(terms, std::iter::once(hash_key(header.uid()))),
            Of::Owner(kind) => owners(&|owner| *owner.kind == **kind),
            Of::Controller => owners(&|owner| owner.controller),
        }
    }

    fn holds(&self, terms: &[HashTerm], mut hashes: impl Iterator<Item = u64>) -> bool {
        match (self.bound, self.compare) {
            (None, Compare::NotEqual) => hashes.next().is_some(),
            (None, _) => hashes.next().is_none(),
            (Some(bound), Compare::NotEqual) => hashes.all(|hash| hash != bound),
            (Some(_), _) => hashes.any(|hash| terms.iter().filter(|t| t.of == self.of).all(|t| t.includes(hash))),
        }
    }

    fn includes(&self, hash: u64) -> bool {
        self.bound.is_none_or(|bound| match self.compare {
            Compare::Greater => hash > bound,
            Compare::GreaterOrEqual => hash >= bound,
            Compare::Less => hash < bound,
            Compare::LessOrEqual => hash <= bound,
            Compare::Equal => hash == bound,
            Compare::NotEqual => hash != bound,
        })
    }
}

/// A field selector for objects whose hash lies in one of these ranges, both ends included: their own, or that of an owner
/// of a kind.
pub fn ranges(owner_kind: Option<&str>, ranges: &[(u64, u64)]) -> String {
    let path = owner_kind.map_or_else(|| OWN.to_owned(), |kind| format!("{OWNERS}.{kind}"));
    let range = |(first, last): &(u64, u64)| format!("{path}=gte:{first},{path}=lte:{last}");
    ranges.iter().map(range).collect::<Vec<_>>().join(";")
}

/// A field selector for objects that nothing controls.
pub fn orphans() -> String {
    format!("{OWNERS}=")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::FieldSelector;
    use crate::{Object, ObjectKey, ResourceId, Space, TenantName};
    use serde_json::json;

    /// An object `u`, owned by `r`, which controls it, and by `d` and `e`.
    fn object() -> Object {
        let tenant = Space::Tenant(TenantName::new("acme").expect("a name"));
        let key = ObjectKey::new(ResourceId::new("", "pods"), tenant, "default", "a").expect("a key");
        let mut value = json!({"metadata": {"uid": "u", "ownerReferences": [
            {"kind": "ReplicaSet", "uid": "r", "controller": true}, {"kind": "Deployment", "uid": "d"},
            {"kind": "Deployment", "uid": "e"}]}});
        Object::encode(key, &mut value, &[]).expect("an object")
    }

    #[test]
    fn hashes_are_those_of_arktos() {
        // FNV-1a of nothing is its offset basis, which lies above the positive numbers.
        assert_eq!(hash_key(""), 0xcbf2_9ce4_8422_2325 - (i64::MAX as u64));
        assert_eq!(hash_key("a"), 0xaf63_dc4c_8601_ec8c - (i64::MAX as u64));
        assert_eq!(hash_key("foobar"), 0x8594_4171_f739_67e8 - (i64::MAX as u64));
    }

    #[test]
    fn ranges_of_hashes_select_as_arktos_writes_them() {
        let object = object();
        let (own, set, deployment) = (hash_key("u"), hash_key("r"), hash_key("d"));
        let (o, r) = ("metadata.hashkey", "metadata.ownerReferences.hashkey.ReplicaSet");
        let d = "metadata.ownerReferences.hashkey.Deployment";
        let (less, more) = (deployment.min(hash_key("e")), deployment.max(hash_key("e")));
        let cases = [
            (format!("{o}=gt:{},{o}=lte:{own}", own - 1), true),
            (format!("{o}=gt:{own},{o}=lte:{}", own + 1), false),
            (format!("{o}=gte:{own},{o}=lt:{}", own + 1), true),
            (format!("{o}={own}"), true),
            (format!("{o}=={own}"), true),
            (format!("{o}!={own}"), false),
            (format!("{r}=gte:0,{r}=lte:{set}"), true),
            (format!("{r}=gt:{set}"), false),
            (format!("{r}={deployment}"), false),
            (format!("metadata.ownerReferences.hashkey.Deployment={deployment}"), true),
            (format!("metadata.ownerReferences.hashkey.Job={set}"), false),
            ("metadata.ownerReferences.hashkey.Job=".to_owned(), true),
            (format!("metadata.ownerReferences.hashkey={set}"), true),
            (format!("metadata.ownerReferences.hashkey={deployment}"), false),
            (format!("{d}=gt:{less},{d}=lt:{more}"), false),
            (format!("{d}=gte:{less},{d}=lt:{more}"), true),
            ("metadata.ownerReferences.hashkey=".to_owned(), false),
            ("metadata.ownerReferences.hashkey!=".to_owned(), true),
            (format!("{o}=gt:{own};{r}=lte:{set}"), true),
            (format!("{o}=gt:{own};{r}=gt:{set}"), false),
            (format!("{o}={own},metadata.name=b;{o}=gt:{own}"), false),
            (format!("{o}={own},metadata.name=a;{o}=gt:{own}"), true),
            (ranges(None, &[(0, own - 1), (own, own)]), true),
            (ranges(Some("ReplicaSet"), &[(0, set - 1)]), false),
        ];
        for (text, expected) in cases {
            let selector = FieldSelector::parse(&text).expect(&text);
            assert_eq!(selector.matches(&object), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_hash_is_refused_and_semicolons_elsewhere_belong_to_values() {
        for bad in ["=x", "=gt:", "=gt:x", "=-1", "=gt:9223372036854775808", "!=gt:1", "=ge:1"] {
            assert!(FieldSelector::parse(&format!("metadata.hashkey{bad}")).is_err(), "{bad}");
        }
        let selector = FieldSelector::parse("metadata.name=a;b").expect("a selector");
        assert_eq!(selector.required("metadata.name"), Some("a;b"));
        let either = FieldSelector::parse("metadata.name=a;metadata.hashkey=1").expect("a selector");
        assert_eq!(either.required("metadata.name"), None, "another group may match another name");
        assert!(FieldSelector::parse(&"metadata.hashkey=1;".repeat(300)).is_err());
    }
}
