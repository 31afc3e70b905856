//! Fuzzing of what decodes bytes of strangers: well-formed samples, damaged in ways that decoders stumble over.
//!
//! A target is a test of the crate that holds the decoder, so that no decoder has to be public for it. `cargo test` runs
//! each briefly and always with the same inputs; `hack/test.sh --full` runs each for minutes and with inputs of its own
//! each time. An input that fails is made smaller before it is shown.

use nix::time::{ClockId, clock_gettime};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any};
use proptest::prop_oneof;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Inputs of one target, in the quick and in the full form.
const INPUTS: u32 = 2_000;
const INPUTS_FULL: u32 = 5_000_000;

/// The CPU time that no input may need: a second of the program that users run, which is several times as fast as a debug
/// build.
const CPU_MAX: Duration = Duration::from_secs(if cfg!(debug_assertions) { 15 } else { 1 });

/// Inputs stay below this, whatever is repeated in them. What is larger is the matter of tests of bounds.
const BYTES_MAX: usize = 64 << 10;

/// How much of an input that fails is shown.
const SHOWN_BYTES: usize = 2_000;

/// How much an input is damaged at most.
const CHANGES_MAX: usize = 8;

/// Gives a decoder damaged samples. It may refuse them, but not panic, and has to be quick about it.
///
/// # Panics
/// With the smallest input that was found, as text and as bytes, when the decoder panics or takes too long.
pub fn fuzz<S: AsRef<[u8]>>(samples: &[S], decoder: impl Fn(&[u8])) {
    fuzz_within(CPU_MAX, samples, decoder);
}

fn fuzz_within<S: AsRef<[u8]>>(cpu_max: Duration, samples: &[S], decoder: impl Fn(&[u8])) {
    let full = std::env::var_os("URSA_TEST_FULL").is_some();
    let config = Config {
        cases: if full { INPUTS_FULL } else { INPUTS },
        failure_persistence: None,
        max_shrink_time: 10_000,
        ..Config::default()
    };
    let samples: Vec<Vec<u8>> = samples.iter().map(|sample| sample.as_ref().to_vec()).collect();
    // A sample that is never decoded whole tells nothing.
    samples.iter().for_each(|sample| decoder(sample));
    let mut runner = match full {
        true => TestRunner::new(config),
        false => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    let outcome = runner.run(&inputs(samples), |input| {
        let began = cpu_time();
        let ended = catch_unwind(AssertUnwindSafe(|| decoder(&input)));
        let took = cpu_time().saturating_sub(began);
        match ended {
            Err(_) => Err(TestCaseError::fail("the decoder panics")),
            Ok(()) if took > cpu_max => Err(TestCaseError::fail(format!("the decoder takes {took:?}"))),
            Ok(()) => Ok(()),
        }
    });
    if let Err(proptest::test_runner::TestError::Fail(why, input)) = outcome {
        let shown = &input[..input.len().min(SHOWN_BYTES)];
        let text = String::from_utf8_lossy(shown);
        panic!("{why} at {} bytes that begin with {text:?}\nwhich is {shown:02x?}", input.len());
    }
}

/// One kind of damage.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    FlipBit(Index, u8),
    Cut(Index),
    Remove(Index, usize),
    Repeat(Index, usize, usize),
    /// Bytes of a sample, which need not be the one that is damaged.
    Splice(Index, Vec<u8>),
}

/// Bytes that mean something in one of the formats, or to what reads numbers and texts.
const TOKENS: [&[u8]; 24] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b":",
    b",",
    b"\\",
    b"null",
    b"-1",
    b"1e999",
    b"9223372036854775808",
    b"\\ud800",
    b"&a",
    b"*a",
    b"\xff\xfe",
    b"\0",
    b"\xe2\x80\xa8",
    b"%2e%2e",
    b"%00",
    b"../",
    b"\r\n",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"((((((((",
];

fn inputs(samples: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let piece = (select(samples.clone()), any::<Index>(), 1_usize..64).prop_map(|(sample, at, length)| {
        let from = place(&at, &sample);
        sample[from..(from + length).min(sample.len())].to_vec()
    });
    let inserted = prop_oneof![piece, select(TOKENS.to_vec()).prop_map(<[u8]>::to_vec)];
    let change = prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Change::FlipBit(at, bit)),
        any::<Index>().prop_map(Change::Cut),
        (any::<Index>(), 1_usize..32).prop_map(|(at, length)| Change::Remove(at, length)),
        (any::<Index>(), 1_usize..16, prop_oneof![Just(2_usize), Just(300), Just(20_000)])
            .prop_map(|(at, length, times)| Change::Repeat(at, length, times)),
        (any::<Index>(), inserted).prop_map(|(at, bytes)| Change::Splice(at, bytes)),
    ];
    (select(samples), vec(change, 1..=CHANGES_MAX)).prop_map(|(mut input, changes)| {
        changes.into_iter().for_each(|change| apply(change, &mut input));
        input.truncate(BYTES_MAX);
        input
    })
}

/// A place in bytes; their end counts.
fn place(at: &Index, bytes: &[u8]) -> usize {
    at.index(bytes.len() + 1)
}

fn apply(change: Change, bytes: &mut Vec<u8>) {
    match change {
        Change::Set(at, byte) => {
            let at = place(&at, bytes);
            if let Some(old) = bytes.get_mut(at) {
                *old = byte;
            }
        }
        Change::FlipBit(at, bit) => {
            let at = place(&at, bytes);
            if let Some(old) = bytes.get_mut(at) {
                *old ^= 1 << bit;
            }
        }
        Change::Cut(at) => bytes.truncate(place(&at, bytes)),
        Change::Remove(at, length) => {
            let from = place(&at, bytes);
            bytes.drain(from..(from + length).min(bytes.len()));
        }
        Change::Repeat(at, length, times) => {
            let from = place(&at, bytes);
            let piece = bytes[from..(from + length).min(bytes.len())].to_vec();
            let fits = BYTES_MAX.saturating_sub(bytes.len()) / piece.len().max(1);
            bytes.splice(from..from, piece.repeat(times.min(fits)));
        }
        Change::Splice(at, piece) => {
            let at = place(&at, bytes);
            bytes.splice(at..at, piece);
        }
    }
}

/// The CPU time of this thread.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoder_without_faults_sees_every_sample_and_passes() {
        let seen = std::cell::Cell::new(0);
        fuzz(&["[1,2]", "{}"], |_| seen.set(seen.get() + 1));
        assert!(seen.get() > INPUTS as usize, "{}", seen.get());
    }

    #[test]
    #[should_panic(expected = "the decoder panics at")]
    fn a_decoder_that_panics_is_found() {
        fuzz(&["[1,2,3,4]"], |input| assert!(input.len() > 3));
    }

    #[test]
    #[should_panic(expected = "the decoder takes")]
    fn a_decoder_that_takes_long_for_what_is_repeated_is_found() {
        let cpu_max = Duration::from_millis(5);
        let slow = |input: &[u8]| {
            let began = cpu_time();
            while input.windows(300).any(|w| w.iter().all(|b| *b == w[0])) && cpu_time() - began < 2 * cpu_max {}
        };
        fuzz_within(cpu_max, &["((1))"], slow);
    }
}
