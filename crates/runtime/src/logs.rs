//! Logs: one line per event on standard error, set up once per process.
//!
//! The environment variable `URSA_LOG` chooses what is written, as in `info,apiserver=debug`.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Starts writing logs. `Err` says what is wrong with `URSA_LOG`; a second call changes nothing.
pub fn start(format: Format) -> Result<(), String> {
    let wanted = std::env::var("URSA_LOG").unwrap_or_default();
    let log = tracing_subscriber::fmt().with_env_filter(filter(&wanted)?).with_writer(std::io::stderr);
    let _already_started = match format {
        Format::Text => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
        Format::Json => log.json().try_init(),
    };
    Ok(())
}

fn filter(wanted: &str) -> Result<EnvFilter, String> {
    let wanted = if wanted.is_empty() { "info" } else { wanted };
    EnvFilter::try_new(wanted)
        .map_err(|e| format!("URSA_LOG is {wanted:?}, not a filter such as info,apiserver=debug: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_read_is_named() {
        let error = filter("apiserver=loud").expect_err("no level 'loud'");
        assert!(error.contains(r#"URSA_LOG is "apiserver=loud""#), "{error}");
    }

    #[test]
    fn informative_events_are_written_unless_told_otherwise() {
        assert_eq!(filter("").expect("the default").to_string(), "info");
    }
}
