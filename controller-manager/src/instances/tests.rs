//! How slots are spread, named, and given up.

use super::share::Share;
use super::slots::Slots;
use super::table::{Living, Row, Table};
use futures::FutureExt;
use std::collections::BTreeMap;
use std::time::Duration;

fn living(names: &[&str]) -> Living {
    names.iter().map(|name| ((*name).into(), ["deployment".to_owned()].into())).collect()
}

fn counts(table: &Table, names: &[&str]) -> Vec<usize> {
    names.iter().map(|name| table.held(name).values().map(|slots| slots.iter().count()).sum()).collect()
}

/// How many slots have another owner.
fn moved(before: &Table, after: &Table) -> usize {
    (0..64).filter(|&slot| before.owner("deployment", slot) != after.owner("deployment", slot)).count()
}

#[test]
fn slots_are_ranges_of_hashes_and_read_back() {
    for text in ["", "0", "63", "0-63", "0-15,17,40-63"] {
        let slots: Slots = text.parse().expect(text);
        assert_eq!(slots.to_string(), text);
        for (first, last) in slots.ranges() {
            assert!(slots.contains(Slots::of_hash(first)) && slots.contains(Slots::of_hash(last)), "{text}");
            assert!(first == 0 || !slots.contains(Slots::of_hash(first - 1)), "{text}");
        }
    }
    assert_eq!(Slots::ALL.ranges(), [(0, i64::MAX as u64)]);
    for text in ["64", "a", "1-", "1-64", "-1"] {
        assert!(text.parse::<Slots>().is_err(), "{text}");
    }
}

#[test]
fn instances_come_and_go_and_little_moves() {
    let one = Table::default().wanted(&living(&["a"]));
    assert_eq!(counts(&one, &["a"]), [64]);
    let two = one.wanted(&living(&["a", "b"]));
    assert_eq!((counts(&two, &["a", "b"]), moved(&one, &two)), (vec![32, 32], 32));
    let three = two.wanted(&living(&["a", "b", "c"]));
    assert_eq!((counts(&three, &["a", "b", "c"]), moved(&two, &three)), (vec![22, 21, 21], 21));
    assert_eq!(three.wanted(&living(&["a", "b", "c"])), three, "nothing moves without need");
    let left = three.wanted(&living(&["b", "c"]));
    assert_eq!((counts(&left, &["b", "c"]), moved(&three, &left)), (vec![32, 32], 22));
    assert_eq!(counts(&left.wanted(&living(&[])), &["b", "c"]), [0, 0]);
}

#[test]
fn only_who_runs_a_controller_gets_its_slots() {
    let mut instances = living(&["a", "b"]);
    instances.get_mut("b").expect("b").insert("job".to_owned());
    let table = Table::default().wanted(&instances);
    assert_eq!(table.held("b")["job"], Slots::ALL);
    assert_eq!(table.held("a").get("job"), None);
    assert_eq!(counts(&table, &["a", "b"]), [32, 32 + 64]);
}

#[test]
fn a_table_reads_back_as_it_was_written() {
    let mut instances = living(&["a", "b", "c"]);
    instances.values_mut().for_each(|controllers| _ = controllers.insert("job".to_owned()));
    let table = Table::default().wanted(&instances);
    let rows: Vec<Row> = serde_json::from_value(table.rows()).expect("rows");
    assert_eq!(rows.len(), 3, "controllers with the same slots share a row: {rows:?}");
    assert_eq!(Table::read(&rows), table);
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_is_given_up_when_nothing_of_it_is_in_work() {
    let share = Share::new(["deployment"].into_iter());
    share.take_all();
    let part = share.part("deployment").expect("a part");
    assert!(part.begin(7).is_none(), "caches are not filled yet");
    share.cover();
    let work = part.begin(7).expect("work");
    let taken = share.allow(&BTreeMap::from([("deployment".to_owned(), "1-63".parse().expect("slots"))]));
    assert_eq!(taken["deployment"].to_string(), "0");
    assert!(part.begin(7).is_none(), "no more is begun");
    assert!(!share.given_up(&taken, Duration::from_secs(1)).await, "it is still in work");
    let (given_up, ()) = tokio::join!(share.given_up(&taken, Duration::from_secs(9)), async {
        tokio::task::yield_now().await;
        drop(work);
    });
    assert!(given_up);
    assert!(share.changed_enough().now_or_never().is_none(), "less work can wait");
    share.allow(&BTreeMap::from([("deployment".to_owned(), Slots::ALL)]));
    assert!(part.begin(7).is_none(), "what others did meanwhile is not in the caches");
    share.changed_enough().await;
    share.cover();
    assert!(part.begin(7).is_some());
}
