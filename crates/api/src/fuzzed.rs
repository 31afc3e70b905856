//! What strangers write as selectors, quantities and times, damaged.

use crate::selector::{FieldSelector, LabelSelector};
use crate::{Quantity, Timestamp};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn damaged_selectors_are_read_or_refused() {
    fuzz::fuzz(&["a=b,c in (d, e),!f,g>1,h notin (),x.io/y!=z", "metadata.name=x\\,y,spec.nodeName!=n"], |bytes| {
        let _ = LabelSelector::parse(&text(bytes));
        let _ = FieldSelector::parse(&text(bytes));
    });
}

#[test]
fn damaged_quantities_and_times_are_read_or_refused() {
    fuzz::fuzz(&["1.5Gi", "-12e-3", "9223372036854775807", "100m", "2026-01-02T03:04:05.123456Z"], |bytes| {
        if let Some(quantity) = Quantity::parse(&text(bytes)) {
            let shown = quantity.to_string();
            assert!(Quantity::parse(&shown).is_some(), "{shown} is a quantity");
        }
        let _ = Timestamp::parse(&text(bytes));
    });
}
